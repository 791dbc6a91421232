"""The evaluator: how well a model behind any OpenAI endpoint calls tools, and whether it may be promoted."""

from callwright.evaluator.evaluation import Judge, evaluate
from callwright.evaluator.findings import Findings, gather
from callwright.evaluator.gate import GateResult, decide
from callwright.evaluator.report import Measures, Report
from callwright.evaluator.rows import Call, Reading, Row, read
from callwright.evaluator.tables import comparison

__all__ = [
    "Call", "Findings", "GateResult", "Judge", "Measures", "Reading", "Report", "Row", "comparison", "decide",
    "evaluate", "gather", "read",
]  # fmt: skip
