"""What a monitoring system reads: counters and times under vLLM's names."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from seeahead.records import Generation
from seeahead.serve.owner import Owner
from seeahead.serve.replies import REASONS
from seeahead.serve.ticket import Event, Ticket

_TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """Of one server."""

    def __init__(self, model_name: str, owner: Owner) -> None:
        self.registry, self._model = CollectorRegistry(), model_name
        self._drafts = self._counter("vllm:spec_decode_num_drafts", "steps with drafted tokens")
        self._drafted = self._counter("vllm:spec_decode_num_draft_tokens", "drafted tokens")
        self._accepted = self._counter("vllm:spec_decode_num_accepted_tokens", "drafted tokens that were accepted")
        self._places = self._counter(
            "vllm:spec_decode_num_accepted_tokens_per_pos", "accepted tokens by their place in the draft", "position"
        )
        self._prompt = self._counter("vllm:prompt_tokens", "tokens of prompts")
        self._said = self._counter("vllm:generation_tokens", "tokens of answers")
        self._ended = self._counter("vllm:request_success", "answers, by why they ended", "finished_reason")
        self._refused = self._counter("seeahead:refused_requests", "requests that were not answered", "status")
        self._first = self._histogram("vllm:time_to_first_token_seconds", "from the request to its first token")
        self._between = self._histogram("vllm:inter_token_latency_seconds", "between steps, each of one token or more")
        self._each = self._histogram(
            "vllm:request_time_per_output_token_seconds", "between tokens after the first, on average of an answer"
        )
        self._whole = self._histogram("vllm:e2e_request_latency_seconds", "from the request to its last token")
        self._asked = self._histogram("vllm:request_prompt_tokens", "tokens of a prompt", _TOKENS)
        self._answer = self._histogram("vllm:request_generation_tokens", "tokens of an answer", _TOKENS)
        self._queued = self._histogram("vllm:request_queue_time_seconds", "until the model has begun with it")
        self._gauge("vllm:num_requests_running", "requests under way", lambda: owner.num_running)
        self._gauge("vllm:num_requests_waiting", "requests that wait, or are read", lambda: owner.num_waiting)
        self._gauge("vllm:kv_cache_usage_perc", "share of the cache that is taken", lambda: owner.cache_usage)
        for reason in {*REASONS.values(), "abort"}:  # what is not there before its first time has no rate when it comes
            self._ended.labels(model_name, reason)

    def _counter(self, name: str, told: str, *labels: str) -> Counter:
        made = Counter(name, told, ["model_name", *labels], registry=self.registry)
        return made if labels else made.labels(self._model)

    def _histogram(self, name: str, told: str, buckets: Sequence[float] = _SECONDS) -> Histogram:
        return Histogram(name, told, ["model_name"], registry=self.registry, buckets=buckets).labels(self._model)

    def _gauge(self, name: str, told: str, value: Callable[[], float]) -> None:
        Gauge(name, told, ["model_name"], registry=self.registry).labels(self._model).set_function(value)

    def told(self, ticket: Ticket, event: Event) -> None:
        """A first token or a step, of an answer that may be far from its end."""
        if event.is_first:
            self._prompt.inc(ticket.request.inputs.length)
            self._said.inc()
            self._first.observe(event.seconds)
        if (step := event.taken) is None:
            return
        if step.num_drafted:
            self._drafts.inc()
        self._drafted.inc(step.num_drafted)
        self._accepted.inc(step.num_accepted)
        for place in range(step.num_accepted):
            self._places.labels(self._model, str(place)).inc()
        self._said.inc(len(step.emitted))
        self._between.observe(event.seconds)

    def answered(self, ticket: Ticket, record: Generation) -> None:
        """An answer that has ended well, whose tokens are counted already."""
        self._ended.labels(self._model, REASONS[record.finish_reason]).inc()
        self._asked.observe(record.num_prompt_tokens)
        self._answer.observe(len(record.token_ids))
        self._queued.observe(ticket.seconds_queued)
        self._whole.observe(ticket.seconds)
        if ticket.seconds_to_first_token is not None and (num_after := len(record.token_ids) - 1):
            self._each.observe((ticket.seconds - ticket.seconds_to_first_token) / num_after)

    def dropped(self, number: int) -> None:
        """Answers that ended before their end."""
        self._ended.labels(self._model, "abort").inc(number)

    def refused(self, status: int) -> None:
        self._refused.labels(self._model, str(status)).inc()

    def page(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)
