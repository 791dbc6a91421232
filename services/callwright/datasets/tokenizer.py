"""A base's tokenizer, and the tokens that it makes of a text.

Knows no conversation, no dialect and no loss weights.
"""

from bisect import bisect_left
from pathlib import Path
from typing import Any, Protocol

from callwright.errors import InvalidInput, NotFound
from callwright.store.model_folder import WITHOUT_CODE, loading

Message = dict[str, Any]


class Tokenizer(Protocol):
    """What encoding needs of a transformers tokenizer: a fast one, with a chat template."""

    name_or_path: str
    eos_token: str | None

    @property
    def backend_tokenizer(self) -> Any:
        """The `tokenizers.Tokenizer`."""

    def get_added_vocab(self) -> dict[str, int]:
        """Special and other added tokens."""

    def get_chat_template(self, *, tools: list[Message] | None = ...) -> str:
        """Return the chat template, that for tools where there are some. Raises `ValueError` where there is none."""

    def apply_chat_template(self, conversation: list[Message], *, tokenize: bool = ..., **arguments: Any) -> Any:
        """Return the template's text when `tokenize` is False."""


def load_tokenizer(base_dir: Path) -> Tokenizer:
    """Return the base's own tokenizer. Raises `NotFound` for no folder and `InvalidInput` for one without a fast
    tokenizer.
    """
    if not base_dir.is_dir():
        raise NotFound(f"loading the tokenizer: no folder {base_dir}; expected a model with tokenizer.json")
    from transformers import AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()
    try:
        with loading(base_dir):
            tokenizer = AutoTokenizer.from_pretrained(base_dir, local_files_only=True, **WITHOUT_CODE)
    except InvalidInput:
        raise
    except Exception as error:  # noqa: BLE001 - tokenizers raises no other kind for a file that it cannot read
        raise InvalidInput(f"loading the tokenizer: {base_dir} has none that can be read: {error}") from None
    if not tokenizer.is_fast:
        raise InvalidInput(f"loading the tokenizer: got a slow one in {base_dir}; expected tokenizer.json")
    loaded: Tokenizer = tokenizer
    return loaded


def added_tokens(tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """Return the added tokens of `tokenizer`, as `tokenizer.json` writes them."""
    found = tokenizer.backend_tokenizer.get_added_tokens_decoder().values()
    return [{"content": token.content, "special": token.special} for token in found]


class Tokens:
    """The tokens of one text, from the `tokenizers.Encoding` of it.

    tokens = Tokens(tokenizer.backend_tokenizer.encode("Oslo 🙂", add_special_tokens=False))
    tokens.ids, [tokens.begin(index) for index in range(len(tokens.ids))]
    """

    def __init__(self, encoding: Any) -> None:
        self.ids: list[int] = encoding.ids
        self._span = encoding.token_to_chars
        self._own = len(self.ids)
        self._after: Tokens | None = None
        self._begin_after = 0

    def followed_by(self, after: "Tokens", position: int) -> "Tokens":
        """These tokens, of the text up to `position`, and those of what stands from there on, tokenized by itself."""
        self._after, self._begin_after = after, position
        self.ids = self.ids + after.ids
        return self

    def begin(self, index: int) -> int:
        """Return the first character of the token at `index`.

        A token begins where the one before it ended: spaces between the two belong to the later one, also where the
        tokenizer's offsets leave them out. Tokens that are bytes of one character all begin with that character.
        """
        if self._after is not None and index >= self._own:
            return self._begin_after + self._after.begin(index - self._own)
        before: int = self._span(index - 1)[1] if index else 0
        start: int = self._span(index)[0]
        return min(before, start)

    def count_before(self, position: int) -> int:
        """Return how many tokens begin before the character at `position`."""
        return bisect_left(range(len(self.ids)), position, key=self.begin)

    def part_at(self, position: int) -> bool:
        """Return whether no token has characters on both sides of `position`."""
        index = self.count_before(position)
        return index == len(self.ids) or self.begin(index) == position
