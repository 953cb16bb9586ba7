"""Exceptions that are no errors of ours: what one request alone has part in ends that one, in a batch."""

import pytest

from seeahead.decode import Batch, run
from seeahead.drafters.lookup import LookupDrafter
from seeahead.errors import FaultError
from seeahead.executor import NOTHING
from seeahead.request import Request
from seeahead.sampling import Sampler, SamplingParams
from seeahead.stopping import StopRule
from seeahead.testing import ScriptedDrafter, answer, random_tree
from tests.lossless.cases import prompt, target
from tests.one_request import start, steps
from tests.test_batches import request


class Broken:
    """Raises what is no error of ours where it is told to."""

    name, want = "broken", NOTHING

    def __init__(self, place):
        self._place = place

    def start(self, context):
        if self._place == "start":
            raise KeyError(self._place)
        drafting = ScriptedDrafter(self.name, random_tree()).start(context)
        if self._place in ("propose", "accept"):
            setattr(drafting, self._place, lambda *_: {}[self._place])
        return drafting


def broken(family, inputs, place):
    """A request of which one part raises a KeyError, in its first step or before it."""
    params = SamplingParams(0.7) if "drawn" in place else SamplingParams()
    filters = (lambda ids, logits: {}[place]) if "filters" in place else None
    looks_back = "back" in place
    sampler = Sampler(params, inputs.token_ids[0].tolist(), filters, looks_back=looks_back)
    rule = StopRule(17, is_over=(lambda *_: {}[place],)) if place == "stop" else StopRule(17)
    made = Request(family.executor, Broken(place), sampler, rule, family.image_token_ids).ask(inputs)
    if "watch" in place:
        made.watch = lambda tokens, logits: {}[place] if "first" in place or made.answer else None
    if place == "ready":
        made.ready = lambda: {}[place]
    return made


FILTERS = ("filters", "filters drawn", "filters back")
PLACES = (*FILTERS, "watch", "watch first", "stop", "ready", "start", "propose", "accept")


def answered_alone(asked, inputs):
    start(asked, inputs)
    list(steps(asked))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("model_type", ["llava", "llava fused"])
def test_an_exception_in_a_part_of_one_request_ends_no_other(model_type, place):
    family, inputs = target(model_type), prompt("llava", 1)
    truth = answer(family, inputs, max_new_tokens=17).token_ids
    requests = [request(family, inputs, LookupDrafter(min_match=1), 17) for _ in range(2)]
    requests.insert(1, broken(family, inputs, place))
    ended = [one for one, _ in run(iter(requests), 3) if one.finish_reason is not None]
    assert set(ended) == set(requests)
    assert [tuple(one.answer) for one in (requests[0], requests[2])] == [truth] * 2
    assert [one.finish_reason for one in requests] == ["length", "error", "length"]
    assert isinstance(requests[1].error, FaultError)
    assert isinstance(requests[1].error.raised, KeyError)
    alone = broken(family, inputs, place)
    with pytest.raises(KeyError):
        answered_alone(alone, inputs)


def test_a_prompt_whose_pass_fails_takes_no_answer_with_it(monkeypatch):
    """It is read alone while another one answers."""
    family, inputs = target("llava fused"), prompt("llava", 1)
    truth = answer(family, inputs, max_new_tokens=9).token_ids
    good, bad = (request(family, inputs, LookupDrafter(min_match=1), 9) for _ in range(2))
    batch = Batch(16, cuts=True)
    batch.join(good)
    while not good.answer:
        list(batch.step())
    monkeypatch.setattr(family.executor, "prefill", lambda *_: {}["prefill"])
    batch.join(bad)
    while batch.requests:
        list(batch.step())
    assert tuple(good.answer) == truth
    assert isinstance(bad.error, FaultError)


def test_prompts_whose_shared_pass_fails_are_read_alone(monkeypatch):
    """Whose fault it was does not show: the others under way, and the one without a fault, are answered."""
    family, inputs = target("llava fused"), prompt("llava", 0, 5)
    truth = answer(family, inputs, max_new_tokens=9).token_ids
    requests = good, bad, well = [request(family, inputs, LookupDrafter(min_match=1), 9) for _ in range(3)]
    batch, prefill = Batch(cuts=True), family.executor.prefill
    batch.join(good)
    while not good.answer:
        list(batch.step())
    seen = []

    def failing(prompts, want):
        seen.append(len(prompts))
        if len(prompts) > 1 or prompts[0].slot is bad.session.slot:
            raise RuntimeError("out of memory")
        return prefill(prompts, want)

    monkeypatch.setattr(family.executor, "prefill", failing)
    for one in (bad, well):
        batch.join(one)
    while batch.requests:
        list(batch.step())
    assert seen == [2, 1, 1]
    assert [one.finish_reason for one in requests] == ["length", "error", "length"]
    assert [tuple(one.answer) for one in (good, well)] == [truth] * 2
