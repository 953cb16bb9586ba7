"""What a training learns for `auto`: with an end, and no image is opened after it."""

from types import SimpleNamespace

from seeahead.data.conversations import Conversation
from seeahead.train import prior
from seeahead.train.data import exchanges_of
from seeahead.train.responses import LeftOut


def test_nothing_is_opened_once_the_time_is_over(family, tmp_path, monkeypatch):
    conversations = [Conversation((("user", f"What is {number}?"),)) for number in range(9)]
    drawn, asked = [], []

    class Told:
        def generate(self, prompt, **settings):
            asked.append(settings["temperature"])

    monkeypatch.setattr(prior, "NUM_PROMPTS", 9)
    monkeypatch.setattr(prior, "bind", lambda *given: None)
    monkeypatch.setattr(prior, "Engine", lambda *given: Told())
    monkeypatch.setattr(prior, "AutoDrafter", lambda *given: None)
    monkeypatch.setattr(prior.Experience, "save_prior", lambda *given: None)
    ticks = iter([0.0, 0.0, 0.0, 0.0, *[1000.0] * 99])
    monkeypatch.setattr(prior, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    exchanges = (drawn.append(number) or one for number, one in enumerate(exchanges_of(conversations, LeftOut())))
    assert prior.learn_prior(family, tmp_path, exchanges) == 3
    assert asked == [0.0, 1.0, 0.0]
    assert drawn == [0, 1]
