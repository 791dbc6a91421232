"""The evaluator: how well a model behind any OpenAI endpoint calls tools, and whether it may be promoted."""

from callsmith.evaluator.evaluation import Judge, evaluate
from callsmith.evaluator.findings import Findings, gather
from callsmith.evaluator.gate import GateResult, decide
from callsmith.evaluator.report import Measures, Report
from callsmith.evaluator.rows import Call, Reading, Row, read
from callsmith.evaluator.tables import comparison

__all__ = [
    "Call", "Findings", "GateResult", "Judge", "Measures", "Reading", "Report", "Row", "comparison", "decide",
    "evaluate", "gather", "read",
]  # fmt: skip
