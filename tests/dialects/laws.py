"""What holds for any text in any dialect; each check raises AssertionError with the text that breaks it."""

import json
from collections.abc import Sequence

from callwright.dialects import (
    CallDelta,
    ContentDelta,
    Delta,
    Dialect,
    MalformedCall,
    ThoughtDelta,
    ToolCall,
    Turn,
    accumulate,
)


def stream(dialect: Dialect, pieces: Sequence[str], tools, *, eager: bool = False, cut: bool = False) -> list[Delta]:
    """All deltas of a turn that arrives in these pieces."""
    parser = dialect.parser(tools, eager=eager)
    deltas = [delta for piece in pieces for delta in parser.feed(piece)]
    return deltas + parser.close(cut=cut)


def check_split(dialect: Dialect, pieces: Sequence[str], tools, *, eager: bool = False, cut: bool = False) -> Turn:
    """The pieces give what the whole text gives; and the deltas are what strict clients accept."""
    text = "".join(pieces)
    whole = accumulate(stream(dialect, [text], tools, eager=eager, cut=cut))
    deltas = stream(dialect, pieces, tools, eager=eager, cut=cut)
    assert accumulate(deltas) == whole, (dialect.name, text, list(pieces))
    check_deltas(deltas, text)
    assert accumulate(stream_shortly(dialect, pieces, tools, eager=eager, cut=cut)) == whole, (dialect.name, pieces)
    if not eager:
        check_turn(whole)
    return whole


def stream_shortly(dialect: Dialect, pieces: Sequence[str], tools, *, eager: bool, cut: bool) -> list[Delta]:
    """All deltas, with the short way taken wherever there is one: only where the long way says just the piece."""
    short, long, deltas = dialect.parser(tools, eager=eager), dialect.parser(tools, eager=eager), []
    for piece in pieces:
        said = long.feed(piece)
        if short.passes(piece):
            assert said == [ContentDelta(piece)], (dialect.name, pieces, piece)
            deltas += said
        else:
            deltas += short.feed(piece)
    return deltas + short.close(cut=cut)


def passed(dialect: Dialect, pieces: Sequence[str], tools) -> list[bool]:
    """Which pieces take the short way."""
    parser, taken = dialect.parser(tools), []
    for piece in pieces:
        taken.append(parser.passes(piece))
        if not taken[-1]:
            parser.feed(piece)
    return taken


def check_deltas(deltas: Sequence[Delta], text: str) -> None:
    """Ids and names only in a call's first delta, indices in order, nothing empty."""
    last = -1
    for delta in deltas:
        if isinstance(delta, ThoughtDelta):
            assert delta.text, text
        elif isinstance(delta, ContentDelta):
            assert delta.text, text
            assert delta.malformed is None or delta.text.endswith(delta.malformed.text), text
        else:
            assert isinstance(delta, CallDelta)
            if delta.id is not None:
                assert delta.index == last + 1, text
                assert delta.name, text
                last = delta.index
            else:
                assert delta.index == last, text
                assert delta.name is None, text
                assert delta.arguments, text


def check_turn(turn: Turn) -> None:
    """Arguments are one line of strict JSON that UTF-8 can carry; a malformed call's text is in the content."""
    assert turn.content != "", turn
    for call in turn.calls:
        if isinstance(call, ToolCall):
            assert isinstance(json.loads(call.arguments, parse_constant=_refuse), dict), turn
            assert "\n" not in call.arguments, turn
            call.arguments.encode()
        else:
            assert isinstance(call, MalformedCall)
            assert call.reason, turn
            assert call.text in (turn.content or ""), turn


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no strict JSON")
