"""A judge model's word on final answers, by option: does the answer say what the reference says?

Owns the question and the reading of the verdict. A judge that gives no clear verdict gives none.
"""

from callwright.evaluator.endpoint import Endpoint, Failure
from callwright.evaluator.rows import Row

_QUESTION = """You grade an assistant's answer against a reference.

Request:
{request}

Reference answer:
{reference}

Assistant's answer:
{answer}

Does the assistant's answer state the same facts as the reference, leave out nothing the request asks for, and claim \
nothing that contradicts it? Wording does not matter. Reply with one word: YES or NO."""


async def ask(judge: Endpoint, row: Row, content: str | None) -> bool | None:
    """The judge's verdict on an answer to a row with a reference; None when it gives none."""
    if not (content and row.reference):
        return None
    request = next((m.get("content") for m in reversed(row.messages) if m["role"] == "user"), "")
    question = _QUESTION.format(request=request, reference=row.reference, answer=content)
    reply = await judge.chat({"messages": [{"role": "user", "content": question}], "temperature": 0, "max_tokens": 16})
    if isinstance(reply, Failure):
        return None
    try:
        words = str(reply.body["choices"][0]["message"]["content"]).upper().replace(".", " ").split()
    except (KeyError, IndexError, TypeError):
        return None
    found = {"YES", "NO"}.intersection(words)
    return found == {"YES"} if len(found) == 1 else None
