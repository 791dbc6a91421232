"""One conversation as the trainer is given it, token by token with weights, so that a person can verify the mask.

Makes lines for a terminal and a page for a browser from the layout and the tokens that `encoding` weighs.
"""

import html
from collections.abc import Iterator, Sequence
from itertools import groupby, islice, pairwise
from typing import NamedTuple

from callwright.datasets.layout import Layout

_COLOURS = ("#16a34a", "#d97706", "#dc2626", "#9333ea", "#2563eb")
_PAGE = """\
<!doctype html>
<html><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 14px/1.7 ui-monospace, monospace; margin: 2rem auto; max-width: 70rem; color: #111827 }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere; font: inherit }}
pre span, .key {{ box-shadow: inset 1px 0 #6b728066 }}
{rules}
</style></head><body>
<h1>{title}</h1>
<p>{summary}</p>
<p>{key}. Point at a token for its number, id, weight and kind.</p>
<pre>{text}</pre>
</body></html>
"""


class Token(NamedTuple):
    """One token of a conversation."""

    id: int
    text: str
    """The characters from its first one to the next token's; empty where several tokens share a character."""
    kind: str
    """The kind of the piece that it belongs to, as `layout.Piece` names them."""
    weight: float


class Line(NamedTuple):
    """Neighbouring tokens of one kind and weight, up to the end of a line of text."""

    kind: str
    weight: float
    tokens: tuple[Token, ...]


def tokens(layout: Layout) -> list[Token]:
    """Every token of a layout."""
    made = layout.tokens
    begins = [*map(made.begin, range(len(made.ids))), len(layout.text)]
    each = zip(made.ids, pairwise(begins), strict=True)
    return [
        Token(identity, layout.text[begin:end], piece.kind, piece.weight)
        for piece, count in zip(layout.pieces, layout.token_counts(), strict=True)
        for identity, (begin, end) in islice(each, count)
    ]


def lines(shown: Sequence[Token]) -> Iterator[Line]:
    """Yield the tokens as rows for a terminal: a new one after each line's end, and at each change of kind or
    weight.
    """
    for (kind, weight), run in groupby(shown, lambda token: (token.kind, token.weight)):
        row: list[Token] = []
        for token in run:
            row.append(token)
            if token.text.endswith("\n"):
                yield Line(kind, weight, tuple(row))
                row = []
        if row:
            yield Line(kind, weight, tuple(row))


def summary(shown: Sequence[Token]) -> str:
    """Tokens in all and by weight, in words."""
    counts = [(weight, sum(token.weight == weight for token in shown)) for weight in weights(shown)]
    return f"{len(shown)} tokens: {', '.join(f'{count} of weight {weight:g}' for weight, count in counts)}"


def weights(shown: Sequence[Token]) -> list[float]:
    """Return the weights that occur, in rising order."""
    return sorted({token.weight for token in shown})


def page(title: str, shown: Sequence[Token]) -> str:
    """Return the conversation as an HTML page that needs no other file."""
    found = weights(shown)
    names = {weight: f"w{index}" for index, weight in enumerate(found)}
    colours = dict(zip((weight for weight in found if weight), _COLOURS * len(found), strict=False))
    rules = [
        f".{names[weight]} {{ background: {colour}33; border-bottom: 2px solid {colour} }}"
        for weight, colour in colours.items()
    ]
    rules += [f".{names[weight]} {{ color: #6b7280 }}" for weight in found if not weight]
    key = " ".join(f'<span class="key {names[weight]}">weight {weight:g}</span>' for weight in found)
    text = "".join(
        f'<span class="{names[token.weight]}" title="{index}: id {token.id}, weight {token.weight:g}, {token.kind}">'
        f"{html.escape(token.text)}</span>"
        for index, token in enumerate(shown)
    )
    return _PAGE.format(
        title=html.escape(title), rules="\n".join(rules), summary=html.escape(summary(shown)), key=key, text=text
    )
