"""Puts one row to a model and says what became of it: its answer scored, or its loss on a general conversation.

The `Outcome` records mistakes of a model or an endpoint as values.
"""

import math
from collections.abc import Iterable
from typing import Any

from callwright.evaluator import answers
from callwright.evaluator.endpoint import Endpoint, Unanswered
from callwright.evaluator.journal import Outcome
from callwright.evaluator.row import Message, Row
from callwright.evaluator.scoring import score

_UNKNOWN_FIELD = ("HTTP 400", "HTTP 422", "HTTP 501")
_JUDGES_QUESTION = """You grade an assistant's answer against a reference.

Request:
{request}

Reference answer:
{reference}

Assistant's answer:
{answer}

Does the assistant's answer state the same facts as the reference, leave out nothing the request asks for, and claim \
nothing that contradicts it? Wording does not matter. Reply with one word: YES or NO."""


async def ask(endpoint: Endpoint, row: Row, *, dialect: str | None, max_tokens: int, judge: Endpoint | None) -> Outcome:
    """Ask for an answer and score it. A `judge` also rates an answer that puts tool results into words."""
    body: dict[str, Any] = {"messages": row.messages, "max_tokens": max_tokens, "temperature": 0}
    if row.tools:
        body["tools"] = row.tools
    reply = await endpoint.chat(body)
    if isinstance(reply, Unanswered):
        return Outcome(error=reply)
    try:
        answer = answers.read(reply.body, row.tools, dialect)
    except ValueError as error:
        return _rubbish(str(error))
    return Outcome(
        verdict=score(row, answer),
        content=answer.content,
        calls=answer.calls,
        judged=await ask_judge(judge, row, answer.content) if judge and row.kind == "answer" else None,
        seconds=reply.seconds,
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens,
    )


async def ask_judge(judge: Endpoint, row: Row, content: str | None) -> bool | None:
    """Return whether an answer says what the row's reference says, by a judge model; None when it gives no clear
    verdict.
    """
    if not (content and row.reference):
        return None
    request = next((m.get("content") for m in reversed(row.messages) if m["role"] == "user"), "")
    question = _JUDGES_QUESTION.format(request=request, reference=row.reference, answer=content)
    reply = await judge.chat({"messages": [{"role": "user", "content": question}], "temperature": 0, "max_tokens": 16})
    if isinstance(reply, Unanswered):
        return None
    try:
        words = str(reply.body["choices"][0]["message"]["content"]).upper().replace(".", " ").split()
    except (KeyError, IndexError, TypeError):
        return None
    found = {"YES", "NO"}.intersection(words)
    return found == {"YES"} if len(found) == 1 else None


async def measure_loss(endpoint: Endpoint, row: Row) -> Outcome | None:
    """Measure how well a model predicts a general row's reference after its messages; None when the endpoint cannot.

    Needs vLLM's `prompt_logprobs`, `add_generation_prompt` and `continue_final_message`.
    """
    answered = (*row.messages, {"role": "assistant", "content": row.reference})
    options = {"prompt_logprobs": 0, "add_generation_prompt": False, "continue_final_message": True}
    full = await endpoint.chat(_one_token(answered) | options)
    if isinstance(full, Unanswered):
        return None if full.reason in _UNKNOWN_FIELD else Outcome(error=full)
    logprobs = full.body.get("prompt_logprobs")
    if not isinstance(logprobs, list):
        return None
    prefix = await endpoint.chat(_one_token(row.messages) | {"add_generation_prompt": True})
    if isinstance(prefix, Unanswered):
        return Outcome(error=prefix)
    try:
        start = int(prefix.body["usage"]["prompt_tokens"])
        # With `prompt_logprobs` 0, an entry holds the prompt's own token alone.
        nats = -math.fsum(float(next(iter(entry.values()))["logprob"]) for entry in logprobs[start:])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RuntimeError):
        return _rubbish("no log-probabilities or no usage in the answer")
    if start >= len(logprobs):
        return _rubbish(f"the prompt has {len(logprobs)} tokens and its beginning {start}")
    return Outcome(loss=(nats, len(logprobs) - start), seconds=full.seconds + prefix.seconds)


def _one_token(messages: Iterable[Message]) -> dict[str, Any]:
    return {"messages": list(messages), "max_tokens": 1, "temperature": 0}


def _rubbish(text: str) -> Outcome:
    return Outcome(error=Unanswered("rubbish", text, temporary=False))
