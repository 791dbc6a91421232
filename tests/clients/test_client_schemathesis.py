"""Requests that schemathesis makes up from the OpenAI SDK's types, right and wrong: none is answered with a failure."""

import json
from typing import Any

import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from playing import needs
from pydantic import TypeAdapter

from fakes import Engine, Text

needs("schemathesis")

import schemathesis
from hypothesis import HealthCheck, settings


def document() -> dict[str, Any]:
    """The endpoint as OpenAPI."""
    text = json.dumps(TypeAdapter(CompletionCreateParamsNonStreaming).json_schema())
    body = json.loads(text.replace("#/$defs/", "#/components/schemas/"))
    schemas = body.pop("$defs")
    # Most requests are to need a dialect, since those are read here and not by the engine.
    body["required"] = ["messages", "model", "tools"]
    operation = {"requestBody": {"required": True, "content": {"application/json": {"schema": body}}}}
    responses = {"responses": {"default": {"description": "an answer"}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "chat", "version": "1"},
        "paths": {"/v1/chat/completions": {"post": operation | responses}},
        "components": {"schemas": schemas},
    }


SCHEMA = schemathesis.openapi.from_dict(document())


@pytest.fixture(scope="module", autouse=True)
def _free_answers(engine: Engine) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "answer", lambda request: Text(["Action: f\nAction Input: {}"]))
        yield


@SCHEMA.parametrize()
@settings(max_examples=300, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_no_request_is_answered_with_a_failure(case: schemathesis.Case, sidecar: str) -> None:
    answer = case.call(base_url=sidecar)
    assert answer.status_code < 500
    if answer.status_code >= 400:
        assert answer.json()["error"]["message"]
