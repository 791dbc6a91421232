"""`python -m callwright.evaluator`: the evaluation Job of a run. Exits 0 once the gate has decided, either way."""

import logging
import os

from callwright.evaluator.config import EvaluatorConfig
from callwright.evaluator.stage import evaluate_run
from callwright.progress import logged
from callwright.run import Run, stage_main


def _evaluate(run: Run, config: EvaluatorConfig, log: logging.Logger) -> None:
    findings = evaluate_run(
        run,
        version=config.version,
        base_url=config.base_url,
        base_id=config.base_id,
        promoted_id=config.promoted_id,
        api_key=os.environ.get("OPENAI_API_KEY"),
        timeout_seconds=config.timeout_seconds,
        on_progress=logged(log, every_seconds=10.0),
        on_note=log.info,
    )
    if findings.gate and not findings.gate.passed:
        # A verdict is what the Job is for: who reads it decides, and nothing has failed that could be tried again.
        log.warning("the gate keeps %s %s back: %s", run.model, config.version or run.version, findings.gate.message)


if __name__ == "__main__":
    stage_main(EvaluatorConfig, _evaluate, room="evaluator", description=__doc__)
