"""`ResponseTools`: the tools of a Responses request as functions, and calls of these in that API's terms again.

    {"type": "namespace", "name": "crm", "tools": [{"type": "function", "name": "find", …}]}      crm__find
    {"type": "custom", "name": "apply_patch", …}            a function whose one parameter, `input`, is a text

Tools that a server would run are left out, unless a call of one is demanded.
"""

from collections.abc import Iterator
from typing import Any

from callwright.sidecar.apis.custom_tools import custom_function
from callwright.sidecar.errors import Refused

Json = dict[str, Any]
_RUN_BY_CLIENTS = ("local_shell", "shell", "apply_patch", "computer", "computer_use_preview")
"""Tools of the API's own that the client carries out, and that are called in ways of their own."""
_FUNCTION = ("name", "description", "parameters", "strict")


class ResponseTools:
    """The tools of one request."""

    def __init__(self, tools: object = None) -> None:
        if not isinstance(tools, list | None):
            raise Refused("tools: expected a list", param="tools")
        self.functions: list[Json] = []
        """In a chat request's form."""
        self.places: dict[str, str] = {}
        """Where the request has what the chat request has at `tools[N]`."""
        self.left_out: list[str] = []
        """What of the tools the model is not told."""
        self._called: dict[str, Json] = {}
        self._names: dict[tuple[str | None, str], str] = {}
        self._plain = {str(tool.get("name")) for tool in tools or () if isinstance(tool, dict)}
        for n, tool in enumerate(tools or ()):
            self._add(tool, f"tools[{n}]")

    def name_of(self, item: Json) -> Any:
        """Return a function's name for a call or a choice, which may have a namespace."""
        name, namespace = item.get("name"), item.get("namespace")
        if not isinstance(name, str) or not isinstance(namespace, str | None):
            return name
        return self._names.get((namespace, name)) or _flat(namespace, name)

    def call(self, name: str) -> Json:
        """Return the type, the name and perhaps the namespace of a call of the function `name`."""
        return self._called.get(name) or {"type": "function_call", "name": name}

    def choice(self, choice: Any) -> Json:
        """Return the chat request's fields for `tool_choice`. Raises `Refused` for a tool that a server would run."""
        match choice:
            case None:
                return {}
            case {"type": "function" | "custom"}:
                return {"tool_choice": {"type": "function", "function": {"name": self.name_of(choice)}}}
            case {"type": "allowed_tools", "tools": list(tools)}:
                named = [{"function": {"name": name}} for tool in tools for name in self._allowed(tool)]
                return {"tool_choice": choice | {"tools": named}}
            case {"type": kind}:
                why = f"got {str(kind)[:40]!r}, a tool that nobody runs here"
                raise Refused(
                    f"tool_choice.type: {why}; expected function, custom or allowed_tools", param="tool_choice"
                )
        return {"tool_choice": choice}

    def _allowed(self, tool: Any) -> Iterator[Any]:
        """Yield the functions that an entry of `allowed_tools` names: one, a namespace's, or none that is here."""
        match tool:
            case {"type": "function" | "custom"}:
                yield self.name_of(tool)
            case {"type": "namespace", "name": name}:
                yield from (flat for (namespace, _), flat in self._names.items() if namespace == name)

    def _add(self, tool: Any, where: str, namespace: str | None = None, about: str = "") -> None:
        match tool:
            case {"type": "function"}:
                self._function({key: tool[key] for key in _FUNCTION if key in tool}, tool, where, namespace, about)
            case {"type": "custom"}:
                self._function(self._custom(tool, where), tool, where, namespace, about)
            case {"type": "namespace", "name": str(name), "tools": list(inner)} if namespace is None:
                about = tool.get("description") or ""
                for n, each in enumerate(inner):
                    self._add(each, f"{where}.tools[{n}]", name, "" if n else str(about))
            case {"type": str(kind)} if kind not in ("namespace", *_RUN_BY_CLIENTS):
                self.left_out.append(where)
            case _:
                expected = "expected function, custom, or a namespace with a name and tools"
                raise Refused(f"{where}.type: {expected}", param=f"{where}.type")

    def _function(self, function: Json, tool: Json, where: str, namespace: str | None, about: str) -> None:
        name = function.get("name")
        if isinstance(name, str):
            flat = _flat(namespace, name)
            while namespace and (flat in self._plain or flat in self._called):
                flat += "_"
            kind = "custom_tool_call" if tool["type"] == "custom" else "function_call"
            if self._called.get(flat, {"type": kind})["type"] != kind:
                told = f"got {name[:80]!r} twice, of a function and a custom tool; expected a name for each"
                raise Refused(f"{where}.name: {told}", param=f"{where}.name")
            self._called[flat] = {"type": kind, "name": name} | ({"namespace": namespace} if namespace else {})
            self._names[namespace, name] = flat
            function["name"] = flat
        if about:
            said = function.get("description")
            function["description"] = f"{about}\n{said}" if said and isinstance(said, str) else about
        self.places[f"tools[{len(self.functions)}]"] = where
        self.functions.append({"type": "function", "function": function})

    def _custom(self, tool: Json, where: str) -> Json:
        function, is_told = custom_function(tool, where)
        if is_told:
            self.left_out.append(f"{where}.format")  # the model is told, and not held to it
        return function


def _flat(namespace: str | None, name: str) -> str:
    return f"{namespace}__{name}" if namespace else name
