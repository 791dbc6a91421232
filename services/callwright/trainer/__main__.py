"""`python -m callwright.trainer`: train a run's adapter, as a RayJob does, or prepare for it, as the Job before does.

Example: `python -m callwright.trainer --spec finetune.yaml --run weather-0123abcd --store s3://bucket/prefix`
"""

import logging
import os

from callwright.errors import InvalidInput, NotFound
from callwright.progress import logged
from callwright.run import REFUSALS, Run, stage_main
from callwright.trainer.config import TrainerConfig
from callwright.trainer.stage import keep_refusal, prepare_training, train_run


def _work(run: Run, config: TrainerConfig, log: logging.Logger) -> None:
    match config.stage:
        case "prepare":
            prepare_training(run, on_progress=logged(log, every_seconds=5.0), on_note=log.info)
        case "train":
            _train(run, log)


def _train(run: Run, log: logging.Logger) -> None:
    try:
        # Metric lines come every half second at most.
        train_run(run, on_progress=logged(log, every_seconds=0.0), on_note=log.info)
    except (InvalidInput, NotFound) as error:
        if os.environ.get(REFUSALS) != "report" or not keep_refusal(run, error):
            raise
        log.error("%s", error)


if __name__ == "__main__":
    stage_main(TrainerConfig, _work, room="trainer", description=__doc__)
