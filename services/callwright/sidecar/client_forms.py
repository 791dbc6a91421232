"""What a request of a client's own holds the engine to: `response_format`, `structured_outputs` and their like.

A form that has not gone into a structural tag of ours reaches the engine as the client wrote it, so it is weighed
whole, and refused by name where it doesn't fit.
"""

import json
from collections.abc import Iterator
from typing import Any

from callwright.sidecar.config import SidecarConfig
from callwright.sidecar.errors import Refused
from callwright.sidecar.grammar_bounds import GrammarBounds
from callwright.sidecar.patterns import MOST_REPEATS

Json = dict[str, Any]
_FIELDS = ("response_format", "output_format", "text.format", "output_config.format")
_KINDS = ("json", "regex", "choice", "grammar", "structural_tag")
_PARTS = frozenset(
    ("type", "value", "json_schema", "style", "max_whitespace_cnt", "pattern", "elements", "begin", "content", "end",
     "tags", "triggers", "separator", "at_least_one", "stop_after_first", "format", "structures", "schema")
)  # fmt: skip
"""Keys of a structural tag whose cost can be told."""
_REPEATS = f"repeat a part at most {MOST_REPEATS} times, and no repeats within it, or use maxLength"
_HOLDING = frozenset(
    ("structured_outputs", *(field.partition(".")[0] for field in _FIELDS), *(f"guided_{kind}" for kind in _KINDS))
)


def may_hold(request: Json) -> bool:
    """Return whether the request may ask the engine to hold its answer to a form."""
    return not _HOLDING.isdisjoint(request)


def check_forms(request: Json, config: SidecarConfig) -> None:
    """Raise `Refused`, naming the field, for a form that the engine might compile too long."""
    if not may_hold(request):
        return
    bounds = GrammarBounds(config.max_grammar_cost, config.max_schema_depth, as_written=True)
    for field, kind, value in _forms(request):
        if kind == "grammar" and config.client_grammars:
            continue
        if not _fits(kind, value, bounds):
            told = f" ({'.'.join(bounds.left_out[0])[:200]!r})" if bounds.left_out else ""
            hint = _REPEATS if kind == "regex" or told.endswith("pattern')") else "make it simpler"
            raise Refused(f"{field}: too weighty for a grammar{told}; {hint}", param=field)


def _forms(request: Json) -> Iterator[tuple[str, str, Any]]:
    """Yield each form with the field that it stands in and its kind."""
    for field in _FIELDS:
        form: Any = request
        for key in field.split("."):
            form = form.get(key) if isinstance(form, dict) else None
        if isinstance(form, dict) and form.get("type") == "structural_tag":
            yield field, "structural_tag", form
        elif isinstance(form, dict):  # a schema stands in it, or in an object with its name
            named = form.get("json_schema")
            schemas = (form.get("schema"), named, named.get("schema") if isinstance(named, dict) else None)
            yield from ((field, "json", schema) for schema in schemas if schema is not None)
    own = request.get("structured_outputs")
    for kind in _KINDS:
        if isinstance(own, dict) and own.get(kind) is not None:
            yield f"structured_outputs.{kind}", kind, own[kind]
        if request.get(f"guided_{kind}") is not None:
            yield f"guided_{kind}", kind, request[f"guided_{kind}"]


def _fits(kind: str, value: Any, bounds: GrammarBounds) -> bool:
    if kind in ("json", "structural_tag") and isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return True  # the engine says what is wrong with it
    match kind:
        case "json":
            return not isinstance(value, dict) or bounds.fits(value)
        case "regex":
            return bounds.pay_pattern(value)
        case "choice":
            return bounds.pay_values(value)
        case "structural_tag":
            return _tag_fits(value, bounds)
    return False


def _tag_fits(value: Any, bounds: GrammarBounds) -> bool:
    """Return whether there is room for a structural tag: its schemas and patterns, and nothing of unknown cost."""
    if isinstance(value, list):
        return all(_tag_fits(each, bounds) for each in value)
    if not isinstance(value, dict):
        return bounds.pay_values(value)
    if not _PARTS.issuperset(value):
        return False
    for key, inner in value.items():
        if key in ("json_schema", "schema") and isinstance(inner, dict):
            fits = bounds.fits(inner)
        elif key == "pattern":
            fits = bounds.pay_pattern(inner)
        else:
            fits = _tag_fits(inner, bounds)
        if not fits:
            return False
    return True
