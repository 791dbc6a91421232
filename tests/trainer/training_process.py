"""A training in a process of its own, whose memory can be measured: `python training_process.py FOLDER SETTINGS`.

Settings are JSON: `shape` of a Llama, `train` as `Train` has it, the `lengths` of the sequences. Prints as JSON the
bytes that were forecast and the most that the process has had resident, after each step.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from callwright.datasets.arrow import Writer, to_batch
from callwright.datasets.encoding import Example
from callwright.spec.model import Base, Lora, Train
from callwright.trainer.forecast import forecast
from callwright.trainer.learner import Learner
from callwright.trainer.model import load_model, resolve_dtype
from callwright.trainer.rows import Rows


def main(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Make base and rows in `folder`, forecast, and train."""
    torch.set_num_threads(1)
    base, train, lora = Base(model=str(folder)), Train(**settings["train"]), Lora(rank=4)
    dtype = resolve_dtype(train.dtype, torch.device("cpu"))
    if not (folder / "config.json").exists():
        config = LlamaConfig(**settings["shape"])
        AutoModelForCausalLM.from_config(config, dtype=dtype).save_pretrained(folder)
    ids = list(range(max(settings["lengths"])))
    with Writer(folder / "train.arrow") as writer:
        writer.write(to_batch([
            Example([n % 997 for n in ids[:length]], [1.0] * length, id="", source="") for length in settings["lengths"]
        ]))  # fmt: skip
    rows = Rows.open(folder / "train.arrow")
    expected = forecast(folder, base, lora, train, lengths=rows.lengths, workers=1, dtype=dtype)
    learner = Learner(load_model(folder, base, lora, train, torch.device("cpu")), rows, train)
    peaks = []
    for _ in range(learner.plan.steps):
        learner.advance()
        peaks.append(_peak_bytes())
    return {"forecast": expected.memory_bytes, "peaks": peaks}


def _peak_bytes() -> int:
    """The kernel's own figure for this program alone; that of getrusage counts the one that started it."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), json.loads(sys.argv[2]))))
