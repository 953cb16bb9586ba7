"""What is counted for those who monitor a server."""

import re
from types import SimpleNamespace
from urllib.request import urlopen

from tests.serve.conftest import PATIENCE, chat, serving
from tests.serve.test_promises import gated
from tests.serve.test_refusals import sent
from tests.serve.test_streams import asking, counted, eventually


def test_counters_add_up(served, client):
    names = ("prompt_tokens", "generation_tokens", "spec_decode_num_draft_tokens", "spec_decode_num_accepted_tokens",
             "spec_decode_num_accepted_tokens_per_pos", "request_success")  # fmt: skip

    def all_counted():
        return {name: counted(served, f"vllm:{name}_total", model_name="tiny") for name in names}

    def steps():
        return counted(served, "vllm:inter_token_latency_seconds_count")

    eventually(lambda: served.owner.num_running == 0)  # tokens of answers that nobody waits for count as well
    before, steps_before = SimpleNamespace(**all_counted()), steps()
    usage = client.chat.completions.create(**{**chat("one two one two one two"), "max_tokens": 40}).usage
    after, details = SimpleNamespace(**all_counted()), usage.completion_tokens_details
    accepted = after.spec_decode_num_accepted_tokens - before.spec_decode_num_accepted_tokens
    by_place = after.spec_decode_num_accepted_tokens_per_pos - before.spec_decode_num_accepted_tokens_per_pos
    drafted = after.spec_decode_num_draft_tokens - before.spec_decode_num_draft_tokens
    assert after.prompt_tokens - before.prompt_tokens == usage.prompt_tokens
    assert after.generation_tokens - before.generation_tokens == usage.completion_tokens
    assert after.request_success - before.request_success == 1
    assert accepted == by_place == details.accepted_prediction_tokens
    assert drafted - accepted == details.rejected_prediction_tokens
    assert counted(served, "vllm:request_success_total", finished_reason="length") > 0
    ended = [counted(served, "vllm:request_success_total", finished_reason=one) for one in ("stop", "length")]
    assert counted(served, "vllm:e2e_request_latency_seconds_count") == sum(ended)
    between = "vllm:request_time_per_output_token_seconds_count"  # an answer of one token has nothing between
    assert 0 < counted(served, between) <= after.request_success
    assert steps() - steps_before == usage.completion_tokens - 1 - accepted


def test_counters_are_there_before_they_count():
    """What comes into being with its first value has no rate then."""
    with serving() as fresh, urlopen(f"{fresh.url}/metrics", timeout=PATIENCE) as reply:
        lines = reply.read().decode().splitlines()
    named = {line.split()[2].removesuffix("_total") for line in lines if line.startswith("# TYPE")}
    there = {re.sub(r"(_total|_sum)?\{.*", "", line) for line in lines if 'model_name="tiny"' in line}
    assert named - there == {"vllm:spec_decode_num_accepted_tokens_per_pos", "seeahead:refused_requests"}


def test_routes_that_are_not_there_are_counted(served):
    before = counted(served, "seeahead:refused_requests_total", status="404")
    assert sent(served, {}, path="/nowhere")[0] == 404
    assert counted(served, "seeahead:refused_requests_total", status="404") == before + 1


def test_what_scales_servers_sees_all_that_wait(served, monkeypatch):
    """Those whose prompts are read count where no more can wait."""
    monkeypatch.setattr(served.owner, "_num_reading", 3)
    assert counted(served, "vllm:num_requests_waiting") == 3


def test_lengths_and_the_time_before_an_answer_are_told(served, client):
    names = ("request_prompt_tokens", "request_generation_tokens", "request_queue_time_seconds")

    def told():
        return [counted(served, f"vllm:{name}_{part}") for name in names for part in ("count", "sum")]

    before = told()
    usage = client.chat.completions.create(**chat("one two")).usage
    changes = [after - value for value, after in zip(before, told(), strict=True)]
    assert changes[:5] == [1, usage.prompt_tokens, 1, usage.completion_tokens, 1]
    assert changes[5] > 0


def test_who_leaves_is_counted_as_one_who_did_and_the_cache_is_taken_while_he_is_there():
    with serving() as fresh:
        with gated(fresh) as (steps, _):
            with asking(fresh, chat("one two three", max_tokens=200)):
                steps.release()
                eventually(lambda: fresh.owner.num_running == 1)
                [ticket] = fresh.owner._running.values()
                share = ticket.num_tokens / fresh.owner.limits.cache_tokens
                assert counted(fresh, "vllm:kv_cache_usage_perc") == share > 0
            eventually(lambda: ticket.is_cancelled)
        eventually(lambda: counted(fresh, "vllm:request_success_total", finished_reason="abort") == 1)
        eventually(lambda: counted(fresh, "vllm:kv_cache_usage_perc") == 0)


def test_tokens_are_counted_while_the_answer_is_under_way():
    """An hour's answer is no jump at its end, and what a client that left was told counts too."""
    body = chat("one two three", max_tokens=200, speculative="none", ignore_eos=True, stream=True)
    names = ("prompt_tokens", "generation_tokens", "spec_decode_num_draft_tokens")

    def told(*parts):
        return [counted(fresh, f"vllm:{name}") for name in parts or [f"{one}_total" for one in names]]

    with serving() as fresh:
        with gated(fresh) as (steps, _):
            with asking(fresh, body):
                steps.release(3)
                eventually(lambda: fresh.owner.num_running == 1)
                [ticket] = fresh.owner._running.values()
                # The first round reads the prompt and takes a step too.
                eventually(lambda: told("generation_tokens_total") == [4])
                assert told() == [ticket.request.inputs.length, 4, 0]
                assert told("time_to_first_token_seconds_count", "inter_token_latency_seconds_count") == [1, 3]
                assert told("num_requests_running", "num_requests_waiting") == [1, 0]
                assert told("e2e_request_latency_seconds_count", "request_generation_tokens_count") == [0, 0]
            eventually(lambda: ticket.is_cancelled)
        eventually(lambda: counted(fresh, "vllm:request_success_total", finished_reason="abort") == 1)
        assert told("generation_tokens_total") == [len(ticket.request.answer)]
