"""Whether a call's arguments fit its tool's JSON Schema, by the library `jsonschema` (draft 2020-12).

    list(violations({"city": 5}, {"properties": {"city": {"type": "string"}}}))
    == ["arguments.city: got 5; expected string"]

What tools declare is often no strict JSON Schema. Other names of types (`int`, `dict`) are understood, and a keyword
that is malformed never counts against a call. No schema that a tool refers to is fetched.

Regular expressions are Rust's, by pydantic, whose time grows with the text alone: with Python's `re`, a pattern like
`^(a+)+$` never ends. What they lack (looking around, referring back) counts as malformed.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import lru_cache, partial, reduce
from operator import getitem
from typing import Any
from urllib.parse import urljoin

import referencing
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend
from jsonschema_specifications import REGISTRY
from pydantic_core import SchemaError, SchemaValidator, core_schema

from callwright.dialects.schema_types import JSON_TYPES, json_type

_ANY_SCHEMA = ["object", "boolean"]
"""What the meta-schema asks for wherever a schema stands."""
_MERGED = ("properties", "$defs")
_REFERENCES = ("$ref", "$dynamicRef")
_MAX_REFERENCES = 32
"""References inside each other that are followed; more are a circle, or a schema that nobody would declare."""
_NO_SCHEMA = (
    referencing.exceptions.Unresolvable,
    RecursionError,
    SchemaError,  # a regular expression where the meta-schema has not looked
    ArithmeticError,  # `multipleOf` of a number that is too large
    AttributeError,  # a reference to what is no schema
    TypeError,
    ValueError,  # an identifier that is no URL
)
"""What jsonschema raises for schemas that the meta-schema finds no fault with."""


def violations(arguments: Any, schema: Any) -> Iterator[str]:
    """Yield what in `arguments` the schema does not allow, each with its path.

    A parameter that the schema does not declare is a violation, unless it sets `additionalProperties`: a model that
    makes an argument up is wrong. A schema that cannot be followed to its end allows anything: references that lead
    nowhere, to what is no schema, or in a circle.
    """
    if not isinstance(schema, dict):
        return
    try:
        errors = list(_validator(json.dumps(schema, default=str)).iter_errors(arguments))
    except _NO_SCHEMA:
        return
    mistyped = {tuple(error.absolute_path) for error in errors if error.validator == "type"}
    kept = [e for e in errors if e.validator == "type" or tuple(e.absolute_path) not in mistyped]
    yield from dict.fromkeys(line for error in kept for line in _lines(error))


_open_references = ContextVar("open_references", default=0)


def _bounded(follow: Callable[..., Any]) -> Callable[..., Any]:
    """Return a keyword that refers to a schema, up to `_MAX_REFERENCES`: where the stack itself ends, a circle may
    panic.
    """

    def bounded(validator: Any, reference: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        depth = _open_references.get()
        if depth == _MAX_REFERENCES:
            raise RecursionError
        _open_references.set(depth + 1)
        try:
            yield from follow(validator, reference, instance, schema) or ()
        finally:
            _open_references.set(depth)

    return bounded


@lru_cache(maxsize=1024)
def _expression(pattern: str) -> SchemaValidator:
    """Return a regular expression, compiled. Raises `SchemaError` for one that can't be, or takes megabytes."""
    return SchemaValidator(core_schema.str_schema(pattern=pattern))


def _matches(pattern: str, text: str) -> bool:
    return _expression(pattern).isinstance_python(text.encode(errors="replace").decode())


def _is_expression(pattern: object) -> bool:
    return not isinstance(pattern, str) or bool(_expression(pattern))


_FORMATS = FormatChecker(formats=())
_FORMATS.checks("regex", raises=SchemaError)(_is_expression)


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not _matches(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, schemas: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    for pattern, each in schemas.items() if isinstance(instance, dict) else ():
        for name in filter(partial(_matches, pattern), instance):
            yield from validator.descend(instance[name], each, path=name, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, dict) and (patterns := schema.get("patternProperties")):
        instance = {name: v for name, v in instance.items() if not any(_matches(each, name) for each in patterns)}
        schema = {key: value for key, value in schema.items() if key != "patternProperties"}
    yield from Draft202012Validator.VALIDATORS["additionalProperties"](validator, allowed, instance, schema) or ()


_Validator = extend(
    Draft202012Validator,
    {key: _bounded(Draft202012Validator.VALIDATORS[key]) for key in _REFERENCES}
    | {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
    },
)
_WithoutUnevaluated = extend(_Validator, {"unevaluatedProperties": lambda *_: ()})
"""For schemas with `patternProperties`, which jsonschema would search with `re` to learn what has been evaluated."""


@lru_cache(maxsize=1)
def _meta() -> Any:
    """Return the meta-schema with its vocabularies in one object, which takes a fifth of the time of references to
    them.
    """
    whole = Draft202012Validator.META_SCHEMA
    parts = [*(REGISTRY.contents(urljoin(whole["$id"], part["$ref"])) for part in whole["allOf"]), whole]
    merged = {key: {name: part[key][name] for part in parts for name in part.get(key, ())} for key in _MERGED}
    text = json.dumps({"type": _ANY_SCHEMA, **merged}).replace('"$dynamicRef": "#meta"', '"$ref": "#"')
    return _Validator(json.loads(text), format_checker=_FORMATS)


@lru_cache(maxsize=1024)
def _validator(schema: str) -> Any:
    made = json.loads(schema)
    for fault in sorted(_meta().iter_errors(made), key=lambda fault: -len(fault.absolute_path)):
        with contextlib.suppress(KeyError):  # it went with a neighbour in the same list
            _mend(made, fault)
    if "properties" in made:
        made.setdefault("additionalProperties", False)
    kind = _WithoutUnevaluated if '"patternProperties"' in schema else _Validator
    return kind(made, registry=referencing.Registry())


def _mend(schema: dict[str, Any], fault: ValidationError) -> None:
    """Removes from `schema`, in place, what is no JSON Schema; other names of types become JSON Schema's."""
    *above, key = fault.absolute_path
    if fault.validator == "type" and fault.validator_value == _ANY_SCHEMA:
        reduce(getitem, above, schema)[key] = {}
        return
    if isinstance(key, int):
        *above, key = above
    holder = reduce(getitem, above, schema)
    declared = holder.pop(key)
    if key == "type":
        types = {json_type(str(name)): None for name in (declared if isinstance(declared, list) else [declared])}
        if all(name in JSON_TYPES for name in types):
            holder["type"] = list(types)


def _lines(error: ValidationError) -> Iterator[str]:
    path = "arguments" + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in error.absolute_path)
    match error.validator:
        case "type":
            types = error.validator_value
            expected = types if isinstance(types, str) else " or ".join(types)
            yield f"{path}: got {_shown(error.instance)}; expected {expected}"
        case "enum":
            yield f"{path}: got {_shown(error.instance)}; expected one of {_shown(error.validator_value)}"
        case "required":
            for name in error.validator_value:  # jsonschema has an error for each, which does not say for which
                if name not in error.instance:
                    yield f"{path}: got no {name}; expected it, as it is required"
        case "additionalProperties" if error.validator_value is False:
            known, patterns = error.schema.get("properties", {}), error.schema.get("patternProperties", {})
            for name in error.instance:
                if name not in known and not any(_matches(pattern, name) for pattern in patterns):
                    yield f"{path}: got the unknown parameter {name}; expected {', '.join(known) or 'none'}"
        case _:
            yield f"{path}: got {_shown(error.instance)}; expected {error.validator} {_shown(error.validator_value)}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}…"
