"""The forms that a structural tag is made of, as xgrammar reads them."""

from collections.abc import Sequence
from typing import Any

Form = dict[str, Any]


def json_value(schema: Form) -> Form:
    """Return a value in JSON."""
    # White space without end is the one way left for a small model to get lost in.
    return {"type": "json_schema", "json_schema": schema, "max_whitespace_cnt": 1}


def constant(text: str) -> Form:
    """Return this text and no other."""
    return {"type": "const_string", "value": text}


def texts(*given: str) -> list[Form]:
    """Return a form for each of these texts but empty ones, for a row."""
    return [constant(text) for text in given if text]


def optional(form: Form) -> Form:
    """Return the form, or nothing."""
    return {"type": "optional", "content": form}


def repeated(form: Form, least: int = 0, most: int = -1) -> Form:
    """Return the form that many times in a row; -1 is any number."""
    return {"type": "repeat", "min": least, "max": most, "content": form}


def row(forms: Sequence[Form]) -> Form:
    """Return one form after the other."""
    return {"type": "sequence", "elements": list(forms)} if len(forms) > 1 else forms[0]


def either(forms: Sequence[Form]) -> Form:
    """Return one of the forms."""
    return {"type": "or", "elements": list(forms)} if len(forms) > 1 else forms[0]


def between(before: str, form: Form, after: str) -> Form:
    """Return the form between two texts; one of any text ends where the second stands."""
    return {"type": "tag", "begin": before, "content": form, "end": after}
