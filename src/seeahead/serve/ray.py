"""The server as a Ray Serve application: replicas over GPUs or machines, each with a model and an owner of its own.

from seeahead.serve.ray import deployed
ray.serve.run(deployed({"target": "demo"}, {"model_name": "demo"}, num_replicas=2))
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, cast

from fastapi import FastAPI
from ray import serve
from ray.serve.config import BackpressureConfig, RequestRouterConfig
from ray.serve.experimental.consistent_hash_router import ConsistentHashRouter

from seeahead.serve.settings import settings_from

_RETRY_SECONDS = 1.0  # after which whoever found the queue full is to ask again


class Router(ConsistentHashRouter):
    """Requests with the same `x-session-id` go to one replica; others to the less busy one of two, as Ray does."""

    async def choose_replicas(self, candidate_replicas: list[Any], pending_request: Any = None) -> list[list[Any]]:
        if pending_request is None or pending_request.metadata.session_id:
            ranked: list[list[Any]] = await super().choose_replicas(candidate_replicas, pending_request)
            return ranked
        pending_request.routing_context.should_backoff = True
        return [random.sample(candidate_replicas, min(2, len(candidate_replicas)))]


def deployed(
    load: Mapping[str, Any],
    settings: Mapping[str, Any],
    *,
    drafters: Sequence[str] = (),
    num_replicas: int = 1,
    resources: Mapping[str, Any] | None = None,
) -> serve.Application:
    """An application for `ray.serve.run`.

    `load`: arguments of `seeahead.load`. `settings`: those of `ServeSettings`. `drafters`: names that clients may give
    beside the default one. `resources`: Ray's options of a replica (`{"num_gpus": 1}`). A replica takes twice as many
    requests as share its passes; `max_waiting` others wait with each of Ray's proxies, which refuse more. Raises
    InputError for settings that are not allowed.
    """
    checked = settings_from(**{"host": "0.0.0.0", **settings})  # Ray listens, and not on this machine alone

    def application() -> Any:
        """Made inside of the replica, which alone has the model."""
        import seeahead
        from seeahead.serve.app import create_app, owner_of

        others = [name for name in dict.fromkeys(drafters) if name != load.get("drafter")]
        owner = owner_of(seeahead.load(**load), others, checked)
        owner.start()
        return create_app(owner, checked)

    @serve.deployment(
        name="seeahead",
        num_replicas=num_replicas,
        max_ongoing_requests=2 * checked.num_at_once,
        max_queued_requests=max(1, checked.max_waiting),
        backpressure_config=BackpressureConfig(status_code=429, retry_after_s=_RETRY_SECONDS),
        graceful_shutdown_timeout_s=checked.timeout_seconds,  # as long as an answer under way may take
        ray_actor_options=dict(resources or {}),
        request_router_config=RequestRouterConfig(request_router_class=Router),
    )
    @serve.ingress(application)
    class Replica:
        """Answers over HTTP."""

        app: FastAPI  # which `ingress` makes

        def check_health(self) -> None:
            """Raises where nothing would be answered again; Ray then starts another replica."""
            if not self.app.state.owner.is_alive:
                raise RuntimeError("the thread that answers has ended; see the log of this replica for the reason")

    return cast("Any", Replica).bind()
