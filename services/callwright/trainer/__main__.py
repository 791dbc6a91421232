"""`python -m callwright.trainer`: train a run's adapter, as a RayJob does, or prepare for it, as the Job before does.

Example: `python -m callwright.trainer --spec finetune.yaml --run weather-0123abcd --store s3://bucket/prefix`
"""

import logging

from callwright.progress import logged
from callwright.run import Run, stage_main
from callwright.trainer.config import TrainerConfig
from callwright.trainer.stage import prepare_training, train_run


def _work(run: Run, config: TrainerConfig, log: logging.Logger) -> None:
    match config.stage:
        case "prepare":
            prepare_training(run, on_progress=logged(log, every_seconds=5.0), on_note=log.info)
        case "train":
            # Metric lines come every half second at most.
            train_run(run, on_progress=logged(log, every_seconds=0.0), on_note=log.info)


if __name__ == "__main__":
    stage_main(TrainerConfig, _work, room="trainer", description=__doc__)
