"""Requests made up from the OpenAPI description get the answers that it describes."""

from __future__ import annotations

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from service_client import Client

CHECKS = (
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance, unsupported_method,
)  # fmt: skip


def test_answers_are_those_of_the_description(client: Client) -> None:
    address = f"http://127.0.0.1:{client.port}"
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    tried = set()
    for result in schema.get_all_operations():
        operation = result.ok()
        tried.add(operation.label)

        @settings(
            max_examples=8, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy())
        def try_case(case: schemathesis.Case) -> None:
            case.call_and_validate(checks=CHECKS)

        try_case()
    assert tried == {"POST /v1/segment", "GET /v1/models", "GET /healthz", "GET /readyz", "GET /metrics"}
