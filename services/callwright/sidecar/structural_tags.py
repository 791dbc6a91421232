"""What holds an engine to calls while it decodes: a structural tag, as xgrammar reads it through vLLM.

A dialect says how its calls are framed and in which style their arguments stand; what a tool takes, its schema says.
"""

from collections.abc import Sequence

from callwright.dialects.gemma import Gemma
from callwright.dialects.native import Native
from callwright.dialects.types import THINK_END, Dialect, Text, Thought, ToolSpec, Turn
from callwright.sidecar.gemma_grammar import GemmaArguments
from callwright.sidecar.grammar_forms import Form, between, constant, either, json_value, optional, row, texts
from callwright.sidecar.python_grammar import python_arguments

_LONGEST_THOUGHT = 1000
"""Characters of a thought before a call or an answer in a form."""
_ANY_OBJECT: Form = {"type": "object"}


def structural_tag(
    dialect: Dialect,
    tools: Sequence[ToolSpec],
    choice: object,
    *,
    single_call: bool,
    answer: Form | None = None,
    thought: tuple[str, str] = ("", ""),
    loose: bool = False,
) -> Form | None:
    """Return what holds the engine to `choice` while it decodes, or None where the model is free.

    `required` and a named tool force the answer to be calls and nothing else. With `auto`, a tool with `strict: true`
    is held to its schema once the model has begun to call it; with the form of an `answer`, the turn is calls or such
    an answer and nothing else, after a `thought` where the dialect marks one. `loose` asks for JSON objects only, for
    tools' schemas that the engine can't follow.
    """
    functions = [tool.get("function", tool) for tool in tools]
    if is_demanded(choice):
        return {"type": "structural_tag", "format": _calls(dialect, functions, choice, single_call, loose)}
    if choice != "auto" or not functions:
        return None
    if answer is not None:
        calls = _calls(dialect, functions, choice, single_call, loose)
        form = _behind_thought(either([calls, _framed(dialect, answer)]), thought)
        return {"type": "structural_tag", "format": form}
    strict = [function for function in functions if function.get("strict") is True]
    if not strict:
        return None
    tags = [_call_tag(dialect, function, loose) for function in strict]
    form = {"type": "triggered_tags", "triggers": [tag["begin"] for tag in tags], "tags": tags}
    return {"type": "structural_tag", "format": form}


def is_demanded(choice: object) -> bool:
    """Return whether the answer has to be a call."""
    return choice == "required" or isinstance(choice, dict)


def _calls(dialect: Dialect, functions: Sequence[Form], choice: object, single_call: bool, loose: bool) -> Form:
    tags = [_call_tag(dialect, function, loose) for function in functions]
    grammar = dialect.call_grammar
    several = not single_call and not isinstance(choice, dict)
    if several and grammar.separator:
        calls: Form = {
            "type": "tags_with_separator",
            "tags": tags,
            "separator": grammar.separator,
            "at_least_one": True,
        }
    else:
        calls = {"type": "plus", "content": either(tags)} if several else either(tags)
    ends = _ends(dialect, functions[0]["name"])
    behind = [optional(either(ends))] if ends else []
    return row([*texts(grammar.opening), calls, *texts(grammar.closing), *behind])


def _behind_thought(form: Form, thought: tuple[str, str]) -> Form:
    """Return the form behind a line of thought, which a model that was trained to think first writes."""
    before, after = thought
    if not before:
        return form
    text = {"type": "any_text", "excludes": [after], "max_chars": _LONGEST_THOUGHT}
    return row([optional(row([constant(before), text, constant(after)])), form])


def after_reasoning(dialect: Dialect, form: Form) -> Form:
    """Return the form behind the end of the think block that the prompt has opened, as training writes it."""
    end, gap = THINK_END, "\n\n"
    if isinstance(dialect, Native):
        end = dialect.thought_tags[1]
        gap = dialect.write(Turn((Thought("x"), Text("y")))).partition(end)[2].removesuffix("y")
    return row([between("", {"type": "any_text"}, end), *texts(gap), form])


def _call_tag(dialect: Dialect, function: Form, loose: bool) -> Form:
    begin, end = dialect.call_frame(function["name"])
    parameters = function.get("parameters")
    schema = {**parameters, "type": "object"} if isinstance(parameters, dict) and not loose else _ANY_OBJECT
    match dialect.call_grammar.style:
        case "json":
            content = json_value(schema)
        case "python":
            content = python_arguments(schema)
        case "gemma":
            assert isinstance(dialect, Gemma)
            content = GemmaArguments(dialect.tokens.quote, dialect.markers, schema).members(schema)
        case style:
            content = {"type": "json_schema", "json_schema": schema, "style": style}
    return between(begin, content, end)


def _framed(dialect: Dialect, answer: Form) -> Form:
    """Return an answer in JSON as the dialect writes one; other forms say themselves what stands around them."""
    if answer["type"] != "json_schema":
        return answer
    before, after = dialect.answer_frame()
    return row([*texts(before), answer, *texts(after)])


def _ends(dialect: Dialect, name: str) -> list[Form]:
    """Return what a trained model writes after its calls: the stop strings, without what the call's end has of them."""
    _, end = dialect.call_frame(name)
    return texts(*(stop.removeprefix(end) for stop in dialect.stop if stop.startswith(end)))
