"""Names of JSON Schema's types: the standard's seven, and the names that tool declarations write instead.

json_type("dict") == "object"       json_type("String") == "string"       json_type("any") == "any"
"""

from types import NoneType

PYTHON_TYPES: dict[str, type] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list,
    "object": dict,
    "null": NoneType,
}
"""JSON Schema's seven types, each with what `json.loads` gives for it; a whole number is a `number` too."""
JSON_TYPES = tuple(PYTHON_TYPES)
JSON_TYPE_OF = {python: name for name, python in PYTHON_TYPES.items()}
ANY = "any"
"""No type of JSON Schema: BFCL and others declare a value of any type so."""

_ALIASES = {
    "str": "string",
    "int": "integer",
    "long": "integer",
    "float": "number",
    "double": "number",
    "bool": "boolean",
    "list": "array",
    "tuple": "array",
    "dict": "object",
}


def json_type(name: str) -> str:
    """JSON Schema's name of a type declared as `name`, in any case; an unknown name in lower case, `any` too."""
    lower = name.lower()
    return _ALIASES.get(lower, lower)
