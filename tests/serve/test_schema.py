"""Requests made at random from the server's own OpenAPI description: none of them is a fault of the server."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode

from tests.serve.conftest import KEY, PATIENCE

ROUTES = [
    ("/v1/chat/completions", "POST"), ("/v1/completions", "POST"), ("/v1/models", "GET"), ("/v1/models/{name}", "GET"),
    ("/health", "GET"), ("/ready", "GET"), ("/version", "GET"), ("/metrics", "GET"),
]  # fmt: skip


@pytest.fixture(scope="module")
def schema(served):
    return schemathesis.openapi.from_url(f"{served.url}/openapi.json", timeout=PATIENCE)


def test_all_routes_are_described(schema):
    found = {(one.ok().path, one.ok().method.upper()) for one in schema.get_all_operations()}
    assert found == set(ROUTES)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize(("path", "method"), ROUTES)
def test_no_request_is_a_fault_of_the_server(schema, path, method, mode):
    operation = schema[path][method]
    if mode == GenerationMode.NEGATIVE and method == "GET":
        pytest.skip("nothing can be wrong about it")

    @settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case):
        if isinstance(case.body, dict) and isinstance(case.body.get("model"), str):
            case.body["model"] = "tiny"  # another is refused before anything else is looked at
        response = case.call(headers={"Authorization": f"Bearer {KEY}"}, timeout=PATIENCE)
        assert response.status_code < 500
        if response.status_code >= 400:
            assert set(response.json()["error"]) == {"message", "type", "param", "code"}

    ask()
