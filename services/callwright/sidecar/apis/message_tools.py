"""`MessageTools`: the tools of a Messages request as functions.

A client's own have a schema; those of the API that the client carries out (`bash`, `text_editor`, `memory`) have one
that is known here. Tools that a server would run are left out, unless a call of one is demanded.
"""

from typing import Any

from callwright.sidecar.errors import Refused

Json = dict[str, Any]
_TEXT: Json = {"type": "string"}
_RANGE: Json = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}
_LINE: Json = {"type": "integer", "minimum": 0}
_EDITS: Json = {"view_range": _RANGE, "file_text": _TEXT, "old_str": _TEXT, "new_str": _TEXT, "insert_line": _LINE}
_EDITED = "old_str is replaced by new_str, file_text is what create writes"
_HOSTED = ("web_search", "web_fetch", "code_execution", "tool_search_tool", "mcp_toolset", "advisor")
"""How the types of tools begin that a server would run."""


def _object(required: list[str], **properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": required}


def _commands(*names: str) -> Json:
    return {"type": "string", "enum": list(names)}


_EDITOR = ("view", "create", "str_replace", "insert")
_KNOWN: dict[str, tuple[str, Json]] = {
    "bash_": (
        "Runs a command in a bash session that is kept between calls; restart begins a new one.",
        _object([], command=_TEXT, restart={"type": "boolean"}),
    ),
    "text_editor_2024": (
        f"Views and edits files: {_EDITED}; insert puts new_str after insert_line; undo_edit takes the last edit back.",
        _object(["command", "path"], command=_commands(*_EDITOR, "undo_edit"), path=_TEXT, **_EDITS),
    ),
    "text_editor_202501": (
        f"Views and edits files: {_EDITED}; insert puts new_str after insert_line; undo_edit takes the last edit back.",
        _object(["command", "path"], command=_commands(*_EDITOR, "undo_edit"), path=_TEXT, **_EDITS),
    ),
    "text_editor_": (
        f"Views and edits files: {_EDITED}; insert puts insert_text after insert_line.",
        _object(["command", "path"], command=_commands(*_EDITOR), path=_TEXT, **_EDITS, insert_text=_TEXT),
    ),
    "memory_": (
        f"Keeps notes in files below /memories: {_EDITED}; insert puts insert_text at insert_line.",
        _object(
            ["command"], command=_commands(*_EDITOR, "delete", "rename"), path=_TEXT, **_EDITS, insert_text=_TEXT,
            old_path=_TEXT, new_path=_TEXT,
        ),
    ),
}  # fmt: skip
"""What is known of tools that the client carries out, by how their types begin."""


class MessageTools:
    """The tools of one request."""

    def __init__(self, tools: object) -> None:
        if not isinstance(tools, list | None):
            raise Refused("tools: expected a list", param="tools")
        self.functions: list[Json] = []
        """In a chat request's form."""
        self.places: dict[str, str] = {}
        """Where the request has what the chat request has at `tools[N]`."""
        self.left_out: list[str] = []
        """What of the tools the model is not told."""
        self._hosted: list[object] = []
        for n, tool in enumerate(tools or ()):
            self._add(tool, f"tools[{n}]")

    def choice(self, choice: object) -> Json:
        """Return the chat request's fields for `tool_choice`. Raises `Refused` for a tool that a server would run."""
        if choice is None:
            return {}
        if not isinstance(choice, dict) or choice.get("type") not in ("auto", "any", "tool", "none"):
            raise Refused("tool_choice.type: expected auto, any, tool or none", param="tool_choice")
        name = choice.get("name")
        if choice["type"] == "tool" and not isinstance(name, str):
            raise Refused("tool_choice.name: expected the name of a tool", param="tool_choice")
        if choice["type"] == "tool" and name in self._hosted:
            got = f"got {str(name)[:80]!r}, which nobody runs here"
            raise Refused(f"tool_choice.name: {got}; expected a tool of the client", param="tool_choice")
        named = {"type": "function", "function": {"name": name}}
        made = {"auto": "auto", "any": "required", "tool": named, "none": "none"}[choice["type"]]
        return {"tool_choice": made, "parallel_tool_calls": not choice.get("disable_parallel_tool_use")}

    def _add(self, tool: object, where: str) -> None:
        kind = tool.get("type") if isinstance(tool, dict) else 0
        if not isinstance(tool, dict) or not isinstance(kind, str | None):
            raise Refused(f"{where}: expected a tool of the client, with an input_schema", param=where)
        function = {key: tool[key] for key in ("name", "description", "strict") if key in tool}
        known = next((known for begin, known in _KNOWN.items() if kind and kind.startswith(begin)), None)
        if kind is None or kind == "custom":
            function["parameters"] = tool.get("input_schema")
        elif known is not None:
            function |= {"description": known[0], "parameters": known[1]}
        elif kind.startswith(_HOSTED):
            self.left_out.append(where)
            self._hosted.append(tool.get("name"))
            return
        else:
            got = f"got {kind[:40]!r}, which is not served here"
            raise Refused(f"{where}: {got}; expected a tool of the client, with an input_schema", param=where)
        self.places[f"tools[{len(self.functions)}]"] = where
        self.functions.append({"type": "function", "function": function})
