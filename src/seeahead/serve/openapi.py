"""How routes whose bodies are read by hand are described in OpenAPI."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

_TEXT, _MAYBE = {"type": "string"}, {"type": ["string", "null"]}
_FIELDS = {"message": _TEXT, "type": _TEXT, "param": _MAYBE, "code": _MAYBE}
_INNER = {"type": "object", "required": list(_FIELDS), "properties": _FIELDS}
_ERROR = {"type": "object", "required": ["error"], "properties": {"error": _INNER}}
_TOLD = {
    400: "what was asked for cannot be answered",
    401: "an API key is asked for",
    403: "it comes under a name that is not this server's, or from a page of another site",
    404: "there is no such model",
    408: "the request came too slowly",
    413: "the body is too large",
    415: "the body is not JSON",
    429: "too many requests wait",
    500: "the server failed",
    503: "the server is shutting down, or too many clients are connected",
    504: "the answer took too long",
}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>The API of seeahead</title><link rel="icon" href="data:,">
<link rel="stylesheet" href="{up}page/colours.css"><link rel="stylesheet" href="{up}page/page.css"></head>
<body><main><h1>The API of seeahead</h1>
<p><a href="{up}">The page of the server</a></p>
{parts}
</main></body></html>"""
_PLACE = "#/components/schemas/{model}"


def add_schemas(app: FastAPI, *bodies: type[BaseModel]) -> None:
    """Let the application's description hold what its bodies are made of."""
    whole = app.openapi()
    known = whole.setdefault("components", {}).setdefault("schemas", {})
    for body in bodies:
        known |= body.model_json_schema(ref_template=_PLACE).get("$defs", {})


def page_of(app: FastAPI, asked: str) -> str:
    """What may be asked, and what bodies are made of, for people to read; `asked`: the path of this page."""
    whole = app.openapi()
    named = [(name, schema, schema) for name, schema in whole["components"]["schemas"].items()]
    for path, methods in reversed(whole["paths"].items()):
        for method, told in methods.items():
            body = told.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            named.insert(0, (f"{method.upper()} {path}", told, body))
    parts = []
    for name, told, schema in named:
        parts.append(f"<h2>{escape(name)}</h2><p>{escape(told.get('description', ''))}</p>")
        parts.append(f'<pre class="text">{escape(json.dumps(schema, indent=2))}</pre>' if schema else "")
    return _PAGE.format(up="../" if asked.endswith("/") else "./", parts="\n".join(parts))


def described(body: type[BaseModel]) -> dict[str, Any]:
    """Arguments of a route that takes `body` as JSON."""
    schema = body.model_json_schema(ref_template=_PLACE)
    schema.pop("$defs", None)
    content = {"application/json": {"schema": _ERROR}}
    errors = {status: {"description": told, "content": content} for status, told in _TOLD.items()}
    return {
        "openapi_extra": {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}},
        "responses": errors,
    }
