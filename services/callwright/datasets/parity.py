"""Whether serving's prompts are the very tokens that training saw before each turn.

The data stage keeps a sample of requests with the tokens that precede their answers in the training examples. The merge
renders the same requests with the version's own files, as the sidecar and the engine do, and counts.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from callwright import dialects
from callwright.datasets.conversation import Conversation
from callwright.datasets.encoding import Encoder
from callwright.datasets.rendering import RefusedError
from callwright.datasets.tokenizer import Tokenizer, added_tokens
from callwright.dialects.foreign import Foreign, special_tokens
from callwright.dialects.reasoning import reasoning_as_thoughts
from callwright.store import Parity, Template

FILE = "parity.json"
"""Where the data stage leaves the sample, with the dialect and its stop strings, beside the examples."""
PROMPTS = 100
"""Requests in a sample, at most."""


def sample(encoder: Encoder, conversations: Iterable[Conversation]) -> dict[str, Any]:
    """Return the first requests of `conversations`, as JSON, with how the template is called."""
    return {
        "template": encoder.maker.settings.model_dump(),
        "prompts": list(islice(_prompts(encoder, conversations), PROMPTS)),
    }


def measure(sampled: dict[str, Any], dialect: str, tokenizer: Tokenizer) -> Parity:
    """Render the requests of a `sample` anew, with another tokenizer, and compare."""
    template = Template.model_validate(sampled["template"])
    writer = dialects.load(dialect, native=template.tools)
    foreign = Foreign(writer, special_tokens(added_tokens(tokenizer)))
    equal, difference = 0, ""
    for prompt in sampled["prompts"]:
        messages = reasoning_as_thoughts(prompt["messages"], writer, think_blocks=template.has_think_blocks)
        broken = foreign.broken(messages, prompt["tools"])
        sent = writer.render(*broken, default_system=template.default_system)
        sent = sent.for_template(tool_role=template.tool_role, shows_reasoning=template.shows_reasoning)
        try:
            text = tokenizer.apply_chat_template(
                list(sent.messages), tokenize=False, add_generation_prompt=not sent.continue_final,
                continue_final_message=sent.continue_final, tools=list(sent.tools) if sent.tools else None,
                **template.arguments,
            )  # fmt: skip
            ids = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
        except Exception as error:  # noqa: BLE001 - a template is a program of its author's, and raises what it likes
            difference = difference or f"the chat template fails: {error}"
            continue
        equal += ids == prompt["ids"]
        if ids != prompt["ids"]:
            difference = difference or _told(prompt["ids"], ids, tokenizer)
    return Parity(prompts=len(sampled["prompts"]), equal=equal, difference=difference)


def _prompts(encoder: Encoder, conversations: Iterable[Conversation]) -> Iterator[dict[str, Any]]:
    for conversation in conversations:
        try:
            layouts = list(encoder.maker.turn_layouts(conversation))
        except RefusedError:
            continue
        for layout in layouts:
            for turn, end in layout.prompts.items():
                ids = layout.tokens.ids[: layout.tokens.count_before(end)]
                yield {"messages": conversation.messages[:turn], "tools": conversation.tools, "ids": ids}


def _told(trained: list[int], served: list[int], tokenizer: Tokenizer) -> str:
    same = next((n for n, (a, b) in enumerate(zip(trained, served, strict=False)) if a != b), len(trained))
    decode = tokenizer.backend_tokenizer.decode
    texts = [decode(ids[same : same + 10], skip_special_tokens=False) for ids in (served, trained)]
    return f"the first difference is at token {same}: got {texts[0]!r} in the prompt; expected {texts[1]!r}"
