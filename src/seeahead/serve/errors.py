"""Refusals in the form of OpenAI's API."""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Callable
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from seeahead.errors import DrafterError, LengthError, ModelError, SeeaheadError
from seeahead.serve.ticket import BusyError, GoneError

Headers = dict[str, str] | None
logger = logging.getLogger(__name__)

_KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_exceeded",
    **dict.fromkeys((500, 503, 504), "server_error"),
}


class ApiError(Exception):
    """A refusal: `status` of HTTP, one line, and which field it is about."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None, headers: Headers = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param, self.headers = status, message, code, param, headers

    @classmethod
    def of(cls, error: SeeaheadError, param: str | None = None) -> ApiError:
        """What a client is told of an error of ours, which is about `param` if the client is to blame."""
        if isinstance(error, BusyError):
            wait = {"Retry-After": str(math.ceil(error.retry_after))}
            if error.is_closing:
                return cls(503, str(error), code="closing", headers=wait)
            return cls(429, str(error), code="rate_limit_exceeded", headers=wait)
        if isinstance(error, GoneError):
            return cls(499, str(error), code="gone")  # nobody reads it; the status is that of the counters
        code = "context_length_exceeded" if isinstance(error, LengthError) else None
        is_ours = isinstance(error, ModelError | DrafterError)
        return cls(500 if is_ours else 400, str(error), code=code, param=param)

    @classmethod
    def late(cls) -> ApiError:
        told = "the answer took longer than this server allows; ask for fewer tokens"
        return cls(504, told, code="timeout", headers={"x-should-retry": "false"})  # else OpenAI's clients ask again

    @classmethod
    def unforeseen(cls, error: Exception) -> ApiError:
        """Nothing of what goes wrong inside is shown outside: a number, under which the log has it."""
        number = secrets.token_hex(4)
        logger.error("request %s failed", number, exc_info=error)
        return cls(500, f"the server failed; its log has the reason under {number}")

    @property
    def body(self) -> dict[str, Any]:
        kind = _KINDS.get(self.status, "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        return JSONResponse(self.body, self.status, self.headers)


class Failing:
    """Answers where the application itself fails. Inside of what adds headers for other sites' pages, which else could
    not read that the server failed."""

    def __init__(self, app: ASGIApp, refused: Callable[[int], None]) -> None:
        self._app, self._refused = app, refused

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
            self._refused(500)
            await ApiError.unforeseen(error).response()(scope, receive, send)
