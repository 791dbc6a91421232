"""Declarations of tools in OpenAI's words, whoever wrote them.

    read_function({"name": "f", "input_schema": {…}})      {"name": "f", "parameters": {…}}, as Anthropic writes it
    read_schema('{"city": {"type": "str"}}')               {"type": "object", "properties": {"city": {"type": "str"}}}

What is written as OpenAI does comes back as the same object. JSON text is read wherever an object is due.
"""

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from callwright.dialects.literals import read_unambiguous
from callwright.dialects.schema_types import JSON_TYPES, json_type

_WRAPPERS = ("function", "toolSpec")
_LISTS = ("tools", "functions", "functionDeclarations", "function_declarations")
_PARAMETERS = (
    "parameters", "input_schema", "inputSchema", "parametersJsonSchema", "parameters_json_schema", "args_schema",
    "arguments", "args",
)  # fmt: skip
_BY_NEED = {"required_parameters": True, "optional_parameters": False}
"""ToolBench's lists, and whether a call must give what stands there."""
_OBJECTS = frozenset(("properties", "additionalProperties", "patternProperties", "$defs", "definitions"))
"""JSON Schema's keywords whose value is an object, as a parameter's schema is; `required` has a list."""
_RESULTS = ("output", "return", "response", "result")
_MOST_ENCODED = 4


def decode(value: Any) -> Any:
    """Return what JSON text says, encoded several times over perhaps; any other value as it is. Raises ValueError.

    Empty text is None; text in which a key stands twice is not read.
    """
    for _ in range(_MOST_ENCODED):
        if not isinstance(value, str):
            break
        try:
            value = read_unambiguous(value) if value.strip() else None
        except ValueError as error:
            raise ValueError(f"not JSON: {error}") from None
    return value


def list_tools(value: Any) -> Iterator[Any]:
    """Yield the tools of a list, of an object of them by name, of one alone, and of lists within. Raises ValueError."""
    value = decode(value)
    if isinstance(value, list | tuple):
        for item in value:
            yield from list_tools(item)
    elif _is_object(value):
        if _is_wrapped(value):
            yield value
        elif (inner := next((value[key] for key in _LISTS if isinstance(value.get(key), list)), None)) is not None:
            yield from list_tools(inner)
        elif "name" in value:
            yield value
        elif all(map(_may_be_schema, value.values())):
            for name, written in value.items():
                yield _named(name, decode(written))
        else:
            yield value
    elif value is not None:
        raise ValueError(f"got {type(value).__name__}; expected a list")


def read_function(spec: Any) -> Mapping[str, Any]:
    """Return the function that a tool declares; parameters that are no schema stay as they are. Raises ValueError."""
    function = _function(spec)
    try:
        return _with_schema(function)
    except ValueError:
        return function


def openai_tool(spec: Any) -> Mapping[str, Any]:
    """Return the tool with its wrapper. Raises ValueError as `read_function` does, and for parameters that are no
    schema.
    """
    function = _function(spec)
    try:
        function = _with_schema(function)
    except ValueError as error:
        raise ValueError(f"{function['name']}: parameters: {error}") from None
    if _is_object(spec) and function is spec.get("function") and spec.get("type") == "function":
        return spec
    around = {key: value for key, value in spec.items() if key not in _WRAPPERS} if _is_wrapped(spec) else {}
    return {**around, "type": "function", "function": function}


def _function(spec: Any) -> Mapping[str, Any]:
    spec = decode(spec)
    written = decode(next((spec[key] for key in _WRAPPERS if spec.get(key)), spec)) if _is_object(spec) else None
    function: Mapping[str, Any] = written if _is_object(written) else {}
    name = function.get("name")
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"got {str(spec)[:80]!r}; expected a function with a name")
    if function is spec and function.get("type") in ("function", "custom"):
        return {key: value for key, value in function.items() if key != "type"}
    return function


def _with_schema(function: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the function with its `parameters`, wherever it had them."""
    keys, schema = _parameters(function)
    if not keys or schema is function.get("parameters"):
        return function
    made: dict[str, Any] = {}
    for key, value in function.items():  # the parameters stay where they stood
        if key in keys:
            made["parameters"] = schema
        elif key != "parameters":
            made[key] = value
    return made


def unread_parameters(tool: Mapping[str, Any]) -> str | None:
    """Return the key of an OpenAI tool without parameters that seems to hold them all the same."""
    function = tool["function"]
    if function.get("parameters"):
        return None
    others = {**tool, **function}
    named = (key for key in others if key != "function" and not any(word in key.lower() for word in _RESULTS))
    return next((key for key in named if _seems_schema(others[key])), None)


def read_schema(written: Any) -> Mapping[str, Any]:
    """Return the JSON Schema of a function's parameters. Raises ValueError for what is none."""
    value = decode(written)
    if isinstance(value, list | tuple):
        return _object_of({}, _by_name(value))
    if not _is_object(value):
        raise ValueError(f"got {str(written)[:80]!r}; expected a JSON schema")
    if set(value) == {"json"} and _is_object(value["json"]):
        value = value["json"]  # Bedrock's
    if value and _OBJECTS.isdisjoint(value) and all(map(_is_object, value.values())):
        return _object_of({}, value)
    properties = decode(value.get("properties"))
    properties = _by_name(properties) if isinstance(properties, list) else properties
    if not _is_object(properties):
        return value
    required = value.get("required")
    plain = properties is value["properties"] and not isinstance(required, str)
    if plain and all(_is_object(p) and not isinstance(p.get("required"), bool) for p in properties.values()):
        return value
    return _object_of(value, properties)


def _parameters(function: Mapping[str, Any]) -> tuple[tuple[str, ...], Mapping[str, Any]]:
    """Return the keys that hold the function's parameters, and their schema; no keys where none says anything."""
    for key in _PARAMETERS:
        value = function.get(key)
        if value and (key == "parameters" or _may_be_schema(value)):
            return (key,), read_schema(value)
    listed = [
        {**item, "required": required} if _is_object(item) else item
        for key, required in _BY_NEED.items()
        if isinstance(function.get(key), list)
        for item in function[key]
    ]
    return (tuple(_BY_NEED), read_schema(listed)) if listed else ((), {})


def _is_object(value: Any) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, (dict, Mapping))  # asking for a dict first is much quicker, and it nearly always is one


def _may_be_schema(value: Any) -> bool:
    return _is_object(value) or isinstance(value, list) or (isinstance(value, str) and value.lstrip()[:1] in ("{", "["))


def _is_wrapped(spec: Any) -> bool:
    return _is_object(spec) and not spec.keys().isdisjoint(_WRAPPERS)


def _named(name: str, written: Any) -> Any:
    if not _is_object(written):
        raise ValueError(f"{name}: got {str(written)[:80]!r}; expected what the tool declares")
    if "name" in written or _is_wrapped(written):
        return written
    return {"name": name, "parameters": written} if "properties" in written else {"name": name, **written}


def _by_name(parameters: Any) -> dict[str, Any]:
    """Parameters listed as `{"name": …, "type": …}`, by name."""
    found = [decode(parameter) for parameter in parameters]
    if not all(_is_object(p) and isinstance(p.get("name"), str) for p in found):
        raise ValueError(f"got {str(parameters)[:80]!r}; expected a JSON schema")
    return {p["name"]: {key: value for key, value in p.items() if key != "name"} for p in found}


def _object_of(schema: Mapping[str, Any], properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema with these properties, of which those that say so themselves are required."""
    read = {name: _read_property(written) for name, written in properties.items()}
    required = schema.get("required")
    required = [required] if isinstance(required, str) and required in properties else _list_of(required)
    listed = {name for name in required if isinstance(name, str)}
    required += [name for name, one in read.items() if one.get("required") is True and name not in listed]
    made = {
        name: {k: v for k, v in one.items() if not (k == "required" and isinstance(v, bool))}
        for name, one in read.items()
    }
    return {"type": "object", **schema, "properties": made, **({"required": required} if required else {})}


def _list_of(required: Any) -> list[Any]:
    value = decode(required)
    return list(value) if isinstance(value, list | tuple) else []


def _read_property(written: Any) -> Mapping[str, Any]:
    """Return a parameter's schema, also from its JSON text, its type's name or its description."""
    if _is_object(written):
        return written
    if written is None or isinstance(written, bool):
        return {}
    if not isinstance(written, str):
        raise ValueError(f"got {str(written)[:80]!r}; expected a parameter's JSON schema")
    if json_type(written.strip()) in JSON_TYPES:
        return {"type": written.strip()}
    if written.lstrip().startswith("{"):
        value = decode(written)
        return value if _is_object(value) else {"description": written}
    return {"description": written}


def _seems_schema(value: Any) -> bool:
    if not _is_object(value):
        return False
    return "properties" in value or (bool(value) and all(_is_object(v) and "type" in v for v in value.values()))
