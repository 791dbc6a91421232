"""What the sidecar sends is read by vLLM's own types, and none of it is unknown there, which vLLM would pass over."""

from typing import Any

import pytest
from bending import GOOD, MESSAGES, RESPONSES

from callwright.sidecar.apis import Api, ChatCompletions, Messages, Responses
from callwright.sidecar.apis.base import SAME_FIELDS
from callwright.sidecar.config import SidecarConfig
from callwright.sidecar.models import named_dialect
from callwright.sidecar.plan import RETRY, make_plan

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
FORMS: list[tuple[type[Api], dict[str, Any]]] = [
    (ChatCompletions, GOOD),
    (Messages, MESSAGES),
    (Messages, MESSAGES | {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}, "min_p": 0.1}),
    (
        Messages,
        MESSAGES | {"thinking": {"type": "enabled", "budget_tokens": 2048}, "context_management": {"edits": []}},
    ),
    (Messages, MESSAGES | {"output_config": {"effort": "xhigh"}, "session_id": "s", "bad_words": ["x"]}),
    (Messages, MESSAGES | {"thinking": {"type": "disabled"}, "kv_transfer_params": {"a": 1}, "watermarking": False}),
    (Responses, RESPONSES),
    (Responses, RESPONSES | {"reasoning": {"effort": "minimal"}, "client_metadata": {"a": "b"}}),
    (Responses, RESPONSES | {"text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}}}),
]


@pytest.fixture(scope="module")
def read() -> Any:
    """vLLM's type of a chat request."""
    place = "vllm.entrypoints.openai.chat_completion.protocol"
    return pytest.importorskip(place, reason="needs the engine's own types").ChatCompletionRequest


@pytest.mark.parametrize(("api", "request_"), FORMS)
def test_the_engine_reads_every_field(api: type[Api], request_: dict[str, Any], read: Any) -> None:
    for stream in (False, True):
        for dialect in ("react_en", "hermes"):
            chat = api().chat_request(request_ | {"stream": stream})
            assert chat is not None
            made = read.model_validate(make_plan(chat, named_dialect(dialect), SidecarConfig()).body)
            assert not made.model_extra
            assert api is Responses or made.stop[0] == "END"
            assert made.response_format is None or made.response_format.type == "text"
            held = api is Responses or "format" in request_.get("output_config", {})
            assert (made.structured_outputs is not None) == held


def test_the_engine_has_every_field_that_the_apis_share(read: Any) -> None:
    ours = {"tools_prompt", "eager_tool_calls", RETRY}
    assert set(SAME_FIELDS) - ours <= set(read.model_fields)
