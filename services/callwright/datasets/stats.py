"""Counts what is in a corpus in one pass: rows and faults, roles, tools and calls, and tokens by kind.

Memory grows with the number of distinct tools, and by four bytes a conversation for its length.
"""

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from callwright.datasets.conversation import Conversation, tool_names
from callwright.datasets.encoding import Encoder
from callwright.datasets.rendering import RefusedError
from callwright.datasets.report import Finding, Report
from callwright.errors import InvalidInput

_SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
_MOST_CALLED = 10


@dataclass
class Stats:
    """Counts over the conversations of a corpus."""

    conversations: int = 0
    with_tools: int = 0
    with_calls: int = 0
    messages: Counter[str] = field(default_factory=Counter)
    """By role."""
    declared: Counter[str] = field(default_factory=Counter)
    """Conversations by the tool that they declare."""
    called: Counter[str] = field(default_factory=Counter)
    """Calls by tool."""
    lengths: "array[int]" = field(default_factory=lambda: array("i"))
    """Tokens of each text that conversations are trained in, one or several a conversation."""
    foreign_tokens: int = 0
    """Special tokens and markers in text that is not the model's own; training and serving break them."""
    tokens: Counter[tuple[str, float]] = field(default_factory=Counter)
    """By kind of piece and loss weight."""

    def add(self, conversation: Conversation, encoder: Encoder) -> None:
        """Count one conversation. Raises `RefusedError` for one without tokens, of which all else is counted."""
        calls = [call for message in conversation.messages for call in message.get("tool_calls") or ()]
        self.conversations += 1
        self.with_tools += bool(conversation.tools)
        self.with_calls += bool(calls)
        self.messages.update(message["role"] for message in conversation.messages)
        self.declared.update(set(tool_names(conversation.tools)))
        self.called.update(call["function"]["name"] for call in calls)
        for layout in encoder.layouts(conversation):
            self.lengths.append(len(layout.tokens.ids))
            for piece, count in zip(layout.pieces, layout.token_counts(), strict=True):
                self.tokens[piece.kind, piece.weight] += count
        self.foreign_tokens += encoder.maker.foreign_tokens(conversation)

    def length_summary(self) -> dict[str, float]:
        """Least, mean, largest and some quantiles of the lengths, in tokens; empty without any."""
        if not self.lengths:
            return {}
        ordered = sorted(self.lengths)
        shares = {name: ordered[min(int(share * len(ordered)), len(ordered) - 1)] for name, share in _SHARES.items()}
        return {"min": ordered[0], "mean": round(sum(ordered) / len(ordered), 1), **shares, "max": ordered[-1]}

    def longer_than(self, max_length: int) -> int:
        """Conversations with more tokens than that."""
        return sum(length > max_length for length in self.lengths)

    def to_dict(self) -> dict[str, Any]:
        """Return all counts as JSON values."""
        return {
            "conversations": self.conversations,
            "with_tools": self.with_tools,
            "with_calls": self.with_calls,
            "messages": dict(self.messages),
            "tools": {
                "declared": len(self.declared),
                "called": len(self.called),
                "calls": self.called.total(),
                "most_called": dict(self.called.most_common(_MOST_CALLED)),
            },
            "foreign_tokens": self.foreign_tokens,
            "lengths": self.length_summary(),
            "tokens": [
                {"kind": kind, "weight": weight, "tokens": count}
                for (kind, weight), count in self.tokens.most_common()
                if count
            ],
        }


def collect(conversations: Iterable[Conversation], encoder: Encoder, report: Report) -> Stats:
    """Count `conversations`; `report` gets those that the dialect or the chat template cannot hold."""
    stats = Stats()
    for conversation in conversations:
        try:
            stats.add(conversation, encoder)
        except RefusedError as error:
            report.note(conversation.source, conversation.line, Finding("refused", str(error)))
    return stats


def draw_lengths(stats: Stats, path: Path, *, max_length: int | None = None) -> None:
    """Draw a histogram of the lengths as a PNG at `path`, with a line at `max_length` tokens.

    Raises `InvalidInput` where there is nothing to draw, matplotlib is absent or `path` cannot be written.
    """
    if not stats.lengths:
        raise InvalidInput("drawing lengths: got no conversation with tokens; expected at least one")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InvalidInput(
            f"drawing lengths: {error}; install callwright[trainer], or leave the histogram out"
        ) from None
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.add_subplot()
    axis.hist(stats.lengths, bins=60, color="tab:blue")
    if max_length is not None:
        axis.axvline(max_length, color="tab:red", linewidth=1.5, label=f"data.maxLength, {max_length}")
        axis.legend(frameon=False)
    axis.set(xlabel="tokens", ylabel="conversations")
    axis.grid(alpha=0.25)
    try:
        figure.savefig(path, format="png")
    except OSError as error:
        raise InvalidInput(f"drawing lengths: {path} cannot be written: {error.strerror}") from None
