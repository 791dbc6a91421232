"""ToolAlpaca's own evaluation files, `eval_simulated.json` and `eval_real.json`, as requests.

Owns their form (Tang et al., 2023, arXiv:2306.05301): an API, instructions and gold calls; its functions are described
in prose with a JSON object of parameters, `"string. One of: [a, b]. What it is"`, `Required.` before those that must be
given. Knows no endpoint and no score.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from callwright.datasets import files
from callwright.dialects.ms_agent import read_schema
from callwright.evaluator.rows import Call, Reading, Row, Tool, arguments

_PARAMETERS = "\nParameters: "
_REQUIRED = "Required."


def read(path: Path, name: str, reading: Reading) -> Iterator[Row]:
    """Yield a request for each instruction whose gold is one call.

    Gold of several calls is counted in `reading` and left out: later ones depend on what ToolAlpaca's simulator answers
    to the first. An empty string in the gold means that the parameter is not given.
    """
    for api in files.rows(path):
        where = f"{path}:{api.line}"
        if api.value is None:
            reading.conversations += 1
            reading.fault(where, api.problem or "no value")
            continue
        try:
            yield from _rows(api.value, name, where, reading)
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            reading.fault(where, f"{type(error).__name__}: {error}")


def _rows(api: dict[str, Any], name: str, where: str, reading: Reading) -> Iterator[Row]:
    described = api["Function_Description"].items()
    tools = tuple(_tool(function, text) for function, text in described if function != "components")
    for index, (instruction, gold) in enumerate(zip(api["Instructions"], api["Golden_Answers"], strict=True)):
        reading.conversations += 1
        if len(gold) != 1:
            reading.fault(
                f"{where}: {index}", f"got gold of {len(gold)} calls; expected one, the rest need a simulator"
            )
            continue
        given = {key: value for key, value in arguments(gold[0]["Action_Input"]).items() if value != ""}
        message = {"role": "user", "content": instruction}
        yield Row(name, f"{api['Name']}:{index}", (message,), tools, (Call(gold[0]["Action"], given),))


def _tool(function: str, text: str) -> Tool:
    description, _, rest = text.partition(_PARAMETERS)
    described: dict[str, str] = json.JSONDecoder().raw_decode(rest)[0] if rest else {}
    parameters = {
        "type": "object",
        "properties": {name: read_schema(value) for name, value in described.items()},
        "required": [name for name, value in described.items() if value.startswith(_REQUIRED)],
    }
    return {
        "type": "function",
        "function": {"name": function, "description": description.strip(), "parameters": parameters},
    }
