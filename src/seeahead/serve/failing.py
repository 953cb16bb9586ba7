"""What is answered where the application itself fails: a number under which the log has the reason."""

from __future__ import annotations

from collections.abc import Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Failing:
    """Inside of what adds headers for other sites' pages, which else could not read that the server failed."""

    def __init__(self, app: ASGIApp, failed: Callable[[Exception], Response]) -> None:
        self._app, self._failed = app, failed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def noted(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as error:
            if has_begun or scope["type"] != "http":
                raise
            await self._failed(error)(scope, receive, send)
