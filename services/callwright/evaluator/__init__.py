"""The evaluator: how well a model behind any OpenAI endpoint calls tools, and whether it may be promoted.

    rows = list(read("held-out.jsonl", reading=Reading()))
    report = evaluate(base_url="http://127.0.0.1:8100/v1", model="m", rows=rows)
    decide(gate, report).passed

`sets` and `formats` read rows, `asking` puts them to an `endpoint`, `answers` and `scoring` judge what comes,
`evaluation` runs it all and `measures` sums it up in a `report`; `compare`, `gate` and `findings` draw the
conclusions, `figures`, `charts` and `pages` show them. `stage` does all of it for a run.
"""

from callwright.evaluator.evaluation import Judge, evaluate
from callwright.evaluator.figures import comparison
from callwright.evaluator.findings import Findings, gather
from callwright.evaluator.gate import GateResult, decide
from callwright.evaluator.report import Measures, Report
from callwright.evaluator.row import Call, Row
from callwright.evaluator.sets import Reading, read

__all__ = [
    "Call", "Findings", "GateResult", "Judge", "Measures", "Reading", "Report", "Row", "comparison", "decide",
    "evaluate", "gather", "read",
]  # fmt: skip
