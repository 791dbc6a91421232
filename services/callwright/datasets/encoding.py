"""Encodes conversations as token ids with a loss weight each, for one dialect and one base's tokenizer.

The ids are the tokenizer's for the whole text, as the server makes them; the tokenizer's offsets then tell which piece
of the layout each token is weighed by. A token across a boundary belongs to the piece that holds its first character:
it is what the model has to write there. Knows nothing of files and training; imports no torch.
"""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from callwright.datasets.conversation import Conversation
from callwright.datasets.layout import Layout, LayoutMaker
from callwright.datasets.rendering import RefusedError
from callwright.datasets.tokenizer import Tokenizer
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


class Encoder:
    """Encodes conversations in one dialect, for one tokenizer, with one table of loss weights.

    encoder = Encoder(dialects.load("ms_agent"), load_tokenizer(base_dir), LossWeights(), max_length=4096)
    examples = encoder.encode(conversation)
    """

    def __init__(
        self,
        dialect: Dialect,
        tokenizer: Tokenizer,
        loss: LossWeights,
        *,
        max_length: int | None = None,
        too_long: TooLong = "drop",
        template_arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self.maker = LayoutMaker(dialect, tokenizer, loss, template_arguments)
        self._max_length = max_length
        self._too_long = too_long

    def encode(self, conversation: Conversation) -> list[Example]:
        """Return the conversation in each of its layouts, the whole one first.

        Empty when the whole one has more than `max_length` tokens and no beginning of it fits; the others are left
        out when they are longer than that. Raises `RefusedError` for a conversation that the template or the dialect
        cannot hold, and `InvalidInput`, where `too_long` is `fail`, for a long conversation.
        """
        made = self._examples(conversation)
        return list(filter(self._fits, made if self._fits(made[0]) else self._shortened(conversation, made[0])))

    def layouts(self, conversation: Conversation) -> Iterator[Layout]:
        """Yield all layouts that `encode` weighs, however long. Raises as `encode` does."""
        return self.maker.layouts(conversation)

    def _shortened(self, conversation: Conversation, whole: Example) -> list[Example]:
        """Return what `too_long` makes of a conversation that does not fit."""
        match self._too_long:
            case "drop":
                return []
            case "cut":
                return self._cut(conversation)
            case "fail":
                where = f"{conversation.source}:{conversation.line}"
                raise InvalidInput(
                    f"encoding: {where}: got {len(whole.input_ids)} tokens; expected at most data.maxLength = "
                    f"{self._max_length}; raise it, or set data.tooLong to drop or cut"
                )

    def _cut(self, conversation: Conversation) -> list[Example]:
        """Return the longest beginning that ends with an assistant turn and fits."""
        messages = conversation.messages
        ends = [i for i in range(1, len(messages)) if messages[i - 1]["role"] == "assistant"]
        for end in reversed(ends):
            whole, *others = self._examples(replace(conversation, messages=messages[:end]))
            if self._fits(whole):
                return [replace(whole, cut=True), *others]
        return []

    def _fits(self, example: Example) -> bool:
        return self._max_length is None or len(example.input_ids) <= self._max_length

    def _examples(self, conversation: Conversation) -> list[Example]:
        made = [
            Example(array("i", layout.tokens.ids), _weights(layout), conversation.id, conversation.source)
            for layout in self.layouts(conversation)
        ]
        if not made:
            raise RefusedError("got no assistant turn; expected one to train on")
        return made


def _weights(layout: Layout) -> "array[float]":
    """Return the weight of each token: that of the piece in which it begins."""
    weights = array("f")
    for piece, count in zip(layout.pieces, layout.token_counts(), strict=True):
        weights += array("f", [piece.weight]) * count
    return weights
