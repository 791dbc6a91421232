"""How well a model predicts a general conversation's answer, measured through its endpoint: what shows forgetting.

Needs vLLM's `prompt_logprobs`, `add_generation_prompt` and `continue_final_message`; an endpoint without them is told
apart from one that fails.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from callwright.evaluator.endpoint import Endpoint, Failure
from callwright.evaluator.rows import Message, Row

_UNKNOWN_FIELD = ("HTTP 400", "HTTP 422", "HTTP 501")


@dataclass(frozen=True, slots=True)
class Loss:
    """Negative log-likelihood of a text, in nats, and its length in tokens."""

    nats: float
    tokens: int
    seconds: float


async def measure(endpoint: Endpoint, row: Row) -> Loss | Failure | None:
    """Score the reference of a general row, after its messages. None when the endpoint cannot."""
    full = await endpoint.chat(
        _body((*row.messages, {"role": "assistant", "content": row.reference}))
        | {"prompt_logprobs": 0, "add_generation_prompt": False, "continue_final_message": True}
    )
    if isinstance(full, Failure):
        return None if full.reason in _UNKNOWN_FIELD else full
    logprobs = full.body.get("prompt_logprobs")
    if not isinstance(logprobs, list):
        return None
    prefix = await endpoint.chat(_body(row.messages) | {"add_generation_prompt": True})
    if isinstance(prefix, Failure):
        return prefix
    try:
        start = int(prefix.body["usage"]["prompt_tokens"])
        nats = -math.fsum(_logprob(entry) for entry in logprobs[start:])
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration):
        return Failure("rubbish", "no log-probabilities or no usage in the answer", False)
    if start >= len(logprobs):
        return Failure("rubbish", f"the prompt has {len(logprobs)} tokens and its beginning {start}", False)
    return Loss(nats, len(logprobs) - start, full.seconds + prefix.seconds)


def _body(messages: Iterable[Message]) -> dict[str, Any]:
    return {"messages": list(messages), "max_tokens": 1, "temperature": 0}


def _logprob(entry: dict[str, Any]) -> float:
    """The prompt token's own log-probability: with `prompt_logprobs` 0 it is the only one in the entry."""
    return float(next(iter(entry.values()))["logprob"])
