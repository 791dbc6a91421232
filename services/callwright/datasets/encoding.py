"""From a conversation to token ids with a loss weight each, for one dialect and one base's tokenizer.

The ids are those that the server would make of the whole text; the pieces with a weight are laid over the tokens
afterwards. A token across a boundary belongs to the piece that holds its first character: it is what the model has to
write there. Knows nothing of files and training; imports no torch.
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from callwright.datasets.base import Tokenizer
from callwright.datasets.conversation import Conversation
from callwright.datasets.layout import Layout, LayoutMaker
from callwright.datasets.template import ChatTemplate
from callwright.datasets.tokens import TokenMaker, Tokens
from callwright.dialects.types import Dialect
from callwright.errors import InvalidInput
from callwright.spec.model import LossWeights

TooLong = Literal["drop", "cut", "fail"]


@dataclass(frozen=True, slots=True)
class Example:
    """What the trainer is given."""

    input_ids: Sequence[int]
    weights: Sequence[float]
    id: str
    source: str
    cut: bool = False
    """Whether turns were left off its end to fit."""


def encode(
    conversation: Conversation,
    dialect: Dialect,
    tokenizer: Tokenizer,
    loss: LossWeights,
    *,
    max_length: int | None = None,
    too_long: TooLong = "drop",
) -> Example | None:
    """Encode one conversation; None when it has more than `max_length` tokens and no shorter form fits.

    Raises `InvalidInput` for a template that disagrees with itself and, where `too_long` is `fail`, for a long
    conversation; `RefusedError` for a conversation that the template or the dialect cannot hold.
    """
    return Encoder(dialect, tokenizer, loss, max_length=max_length, too_long=too_long).encode(conversation)


class Encoder:
    """`encode` for many conversations: the template is learnt once, and shared system texts are tokenised once."""

    def __init__(
        self,
        dialect: Dialect,
        tokenizer: Tokenizer,
        loss: LossWeights,
        *,
        max_length: int | None = None,
        too_long: TooLong = "drop",
    ) -> None:
        self._layouts = LayoutMaker(dialect, ChatTemplate(tokenizer), loss)
        self._tokens = TokenMaker(tokenizer.backend_tokenizer)
        self._max_length = max_length
        self._too_long = too_long

    def encode(self, conversation: Conversation) -> Example | None:
        """See `callwright.datasets.encoding.encode`."""
        example = self._example(conversation, self._layouts.lay_out(conversation))
        if self._fits(example):
            return example
        match self._too_long:
            case "drop":
                return None
            case "cut":
                return self._cut(conversation)
            case "fail":
                where = f"{conversation.source}:{conversation.line}"
                raise InvalidInput(
                    f"encoding: {where}: got {len(example.input_ids)} tokens; expected at most data.maxLength = "
                    f"{self._max_length}; raise it, or set data.tooLong to drop or cut"
                )

    def layouts(self, conversation: Conversation) -> Iterator[Layout]:
        """What `encode` and then `further` weigh, however long. Raises as `encode` does."""
        yield self._layouts.lay_out(conversation)
        yield from self._layouts.further(conversation)

    def tokenize(self, layout: Layout) -> Tokens:
        """The tokens of a layout."""
        return self._tokens.tokenize(layout.text)

    def further(self, conversation: Conversation) -> list[Example]:
        """The conversation in the other layouts that the dialect's clients use, as far as they fit."""
        layouts = self._layouts.further(conversation)
        return [example for layout in layouts if self._fits(example := self._example(conversation, layout))]

    def _cut(self, conversation: Conversation) -> Example | None:
        """The longest beginning that ends with an assistant turn and fits."""
        messages = conversation.messages
        ends = [i for i in range(1, len(messages)) if messages[i - 1]["role"] == "assistant"]
        for end in reversed(ends):
            shorter = replace(conversation, messages=messages[:end])
            example = self._example(shorter, self._layouts.lay_out(shorter))
            if self._fits(example):
                return replace(example, cut=True)
        return None

    def _fits(self, example: Example) -> bool:
        return self._max_length is None or len(example.input_ids) <= self._max_length

    def _example(self, conversation: Conversation, layout: Layout) -> Example:
        tokens = self._tokens.tokenize(layout.text)
        weights = array("f")
        for weight, count in zip((piece.weight for piece in layout.pieces), layout.token_counts(tokens), strict=True):
            weights += array("f", [weight]) * count
        return Example(tokens.ids, weights, conversation.id, conversation.source)
