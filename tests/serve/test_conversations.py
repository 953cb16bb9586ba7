"""Slots that conversations leave behind: whose they are, and what is left of an answer that nobody waits for."""

import time

from tests.serve.conftest import chat, serving
from tests.serve.test_refusals import sent
from tests.serve.test_streams import eventually

SYSTEM = {"role": "system", "content": "one two three four five six seven "}


def cached(served, messages, **settings):
    """What is answered, and how many tokens of the prompt a slot held already, of how many."""
    status, reply = sent(served, {"model": "tiny", "messages": messages, "max_tokens": 6, **settings})
    assert status == 200, reply
    usage = reply["usage"]
    held = usage["prompt_tokens_details"]["cached_tokens"]
    return reply["choices"][0]["message"]["content"], held, usage["prompt_tokens"]


def test_two_who_talk_in_turn_keep_their_slots():
    """Both begin with the server's usual instructions: neither takes the other's slot for these."""
    with serving() as served:
        talks = {name: [SYSTEM, {"role": "user", "content": f"{name} " * 20}] for name in ("eight", "nine")}
        before = dict.fromkeys(talks, 0)
        for turn in range(3):
            for name, messages in talks.items():
                said, held, before_next = cached(served, messages)
                assert held >= before[name], (turn, name)
                before[name] = before_next
                messages += [{"role": "assistant", "content": said}, {"role": "user", "content": "Why?"}]


def test_an_answer_that_is_left_leaves_its_conversation(monkeypatch):
    """Who stops an answer, or loses the network, goes on with what was said."""
    with serving(max_new_tokens=200) as served, served.client() as client:
        step = served.owner._batch.step
        monkeypatch.setattr(served.owner._batch, "step", lambda **given: (time.sleep(0.02), step(**given))[1])
        first = chat("one two three " * 20, max_tokens=200)
        stream = client.chat.completions.create(**first, stream=True)
        said = "".join(chunk.choices[0].delta.content or "" for chunk, _ in zip(stream, range(5)))
        stream.close()
        eventually(lambda: served.owner.num_running == 0 and served.owner._slots._entries)
        turn = {"role": "assistant", "content": said}
        messages = [*first["messages"], turn, {"role": "user", "content": "Why?"}]
        _, held, _ = cached(served, messages)
        assert held > 60


def test_several_answers_of_one_request_leave_one_slot():
    with serving() as served:
        sent(served, chat("one two three", n=4, temperature=1.0))
        eventually(lambda: served.owner.num_running == 0 and served.owner._slots._entries)
        assert len(served.owner._slots._entries) == 1
