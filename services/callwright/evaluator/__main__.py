"""`python -m callwright.evaluator`: the evaluation Job of a run. Exits 0 when the gate lets the candidate through."""

import argparse
import os
import sys
from pathlib import Path

from callwright import spec
from callwright.errors import CallwrightError, GateFailed
from callwright.evaluator.config import EvaluatorConfig
from callwright.evaluator.stage import Served, evaluate_run
from callwright.store import Store


def _config() -> EvaluatorConfig:
    parser = argparse.ArgumentParser(prog="python -m callwright.evaluator", description=__doc__)
    for name, field in EvaluatorConfig.model_fields.items():
        needed = field.is_required() and name not in ("store", "version")
        parser.add_argument(f"--{name.replace('_', '-')}", required=needed, help=field.description)
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    local = f"file://{Path.cwd()}/.callwright/store"
    defaults = {"store": os.environ.get("CALLWRIGHT_STORE", local), "version": given["run"]}
    return EvaluatorConfig.model_validate(defaults | given)


def main() -> None:
    """Read argv and env, evaluate, and say what came of it on stderr."""
    config = _config()
    finetune = spec.load(config.spec)
    findings = evaluate_run(
        finetune,
        run=config.run,
        version=config.version,
        store=Store.open(config.store),
        base_url=config.base_url,
        served=Served(finetune.model_name, config.base_id, config.promoted_id),
        workdir=config.workdir,
        api_key=os.environ.get("OPENAI_API_KEY"),
        timeout_seconds=config.timeout_seconds,
        on_progress=lambda heading: lambda done, total, words: _tell(f"{heading}: {done}/{total} {words}"),
        on_note=_tell,
    )
    if findings.gate and not findings.gate.passed:
        raise GateFailed(f"the gate keeps {finetune.model_name} {config.version} back: {findings.gate.message}")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    except CallwrightError as error:
        _tell(f"error: {error}")
        sys.exit(error.exit_code)
