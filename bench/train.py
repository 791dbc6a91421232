"""LoRA training side by side with ms-swift and with plain `transformers.Trainer` + PEFT, step by step in one run.

`python bench/train.py [STEPS] [--peers PYTHON]` prints JSON and writes bench/results/train.json. ms-swift needs an
environment of its own: name its Python in `--peers` or BENCH_PEERS, or it is left out and said to be.

All contenders get one generated base (random weights), one adapter to begin with, the same encoded conversations of
../shared/data in the same order, and one set of settings. They stand side by side, each in a process of its own, and
take each step in turn, so that whatever else the machine does hits all alike; who begins changes with every step. The
first step warms up and does not count. `tokens_per_second` are useful ones, padding left out: the median step, with
the slowest and the fastest. `peak_mib` is the process's own largest resident memory, imports included. Losses are
compared step by step: all differ only in dropout's random numbers and in rounding. Where a GPU is, the same is done
with a base of 7 B parameters and without ms-swift, with the GPU's peak memory and the share of its bfloat16 matrix
speed, measured beside it, that went into products a step cannot do without (recomputed ones are not counted).
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data import CORPORA, ROOT, write_base, write_rows

SHAPES = {
    "29M": {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 8, "num_attention_heads": 6,
            "num_key_value_heads": 2, "vocab_size": 32_000, "tie_word_embeddings": True},
    "7B": {"hidden_size": 3584, "intermediate_size": 18_944, "num_hidden_layers": 28, "num_attention_heads": 28,
           "num_key_value_heads": 4, "vocab_size": 152_064, "tie_word_embeddings": False},
}  # fmt: skip
SHORTEST, LONGEST = 173, 1397
RANK, ALPHA, DROPOUT, BATCH, ACCUMULATION = 8, 32, 0.05, 2, 4
RATE, WEIGHT_DECAY, GRAD_NORM, SEED = 1e-3, 0.1, 0.5, 42
LOSS_TOLERANCE = 0.005


class Turns:
    """A contender's side of the taking of turns: lines on its own stdin and stdout."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # whatever the libraries print is no part of it

    def wait(self) -> None:
        """Say that all is ready for a step, and wait until it is this contender's turn."""
        self._say({"ready": True})
        if not sys.stdin.readline():
            raise SystemExit("the bench is gone")
        self._began, self._cpu = time.perf_counter(), time.process_time()

    def tell(self, loss: float) -> None:
        """Tell what the step took."""
        import torch

        found = {"loss": loss, "seconds": time.perf_counter() - self._began}
        found |= {"cpu_seconds": time.process_time() - self._cpu, "peak_mib": peak_mib()}
        if torch.cuda.is_available():
            found["peak_gpu_mib"] = torch.cuda.max_memory_allocated() / 2**20
        self._say(found)

    def _say(self, line: dict[str, Any]) -> None:
        print(json.dumps(line), file=self._out, flush=True)


def peak_mib() -> float:
    """This process's largest resident memory; getrusage would count what its parent had when it started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


# The contenders.


def run_callwright(work: Path, steps: int, checkpointing: bool) -> None:
    import torch

    from callwright.trainer.learner import Learner
    from callwright.trainer.rows import Rows

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train = settings(steps, checkpointing)
    adapted = load_ours(work, train, device)
    learner = Learner(adapted, Rows.open(work / "train.arrow"), train)
    turns = Turns()
    for _ in range(steps):
        turns.wait()
        result = learner.advance()
        result.health()
        turns.tell(result.metrics()["loss"])


def run_trainer(work: Path, steps: int, checkpointing: bool) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, DataCollatorForSeq2Seq, Trainer, TrainingArguments

    model = AutoModelForCausalLM.from_pretrained(work / "base", dtype=torch.bfloat16)
    config = LoraConfig(
        r=RANK, lora_alpha=ALPHA, lora_dropout=DROPOUT, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    model = get_peft_model(model, config)
    load_adapter(model, work)
    arguments = TrainingArguments(
        output_dir=str(work / "trainer"), per_device_train_batch_size=BATCH, gradient_accumulation_steps=ACCUMULATION,
        max_steps=steps, learning_rate=RATE, lr_scheduler_type="constant", weight_decay=WEIGHT_DECAY, bf16=True,
        max_grad_norm=GRAD_NORM, seed=SEED, gradient_checkpointing=checkpointing, logging_steps=1, save_strategy="no",
        gradient_checkpointing_kwargs={"use_reentrant": False}, report_to="none", disable_tqdm=True,
        train_sampling_strategy="sequential", use_cpu=not torch.cuda.is_available(),
    )  # fmt: skip
    collator = DataCollatorForSeq2Seq(tokenizer(work), padding=True)
    callbacks = [taking_turns(Turns())]
    Trainer(model, arguments, data_collator=collator, train_dataset=dataset(work), callbacks=callbacks).train()


def run_swift(work: Path, steps: int, checkpointing: bool) -> None:
    from swift.pipelines import SwiftSft

    class Sft(SwiftSft):  # type: ignore[misc]
        def _prepare_dataset(self) -> list[Any]:
            return [dataset(work), None]

        def train(self, trainer: Any) -> None:
            load_adapter(trainer.model, work)
            trainer.add_callback(taking_turns(Turns()))
            trainer.train()

    chosen = {
        "model": work / "base", "model_type": "qwen2", "template": "chatml", "dataset": work / "rows.jsonl",
        "output_dir": work / "swift", "tuner_type": "lora", "lora_rank": RANK, "lora_alpha": ALPHA,
        "lora_dropout": DROPOUT, "target_modules": "all-linear", "torch_dtype": "bfloat16", "max_steps": steps,
        "per_device_train_batch_size": BATCH, "gradient_accumulation_steps": ACCUMULATION, "learning_rate": RATE,
        "lr_scheduler_type": "constant", "warmup_ratio": 0, "weight_decay": WEIGHT_DECAY, "adam_beta2": 0.999,
        "max_grad_norm": GRAD_NORM, "seed": SEED, "gradient_checkpointing": str(checkpointing).lower(),
        "logging_steps": 1, "save_strategy": "no", "eval_strategy": "no", "report_to": "none",
        "train_dataloader_shuffle": "false", "dataloader_num_workers": 0, "use_hf": "true", "use_cpu": "true",
    }  # fmt: skip
    Sft([word for name, value in chosen.items() for word in (f"--{name}", str(value))]).main()


CONTENDERS: dict[str, Callable[[Path, int, bool], None]] = {
    "callwright": run_callwright, "ms-swift": run_swift, "Trainer + PEFT": run_trainer
}  # fmt: skip


def settings(steps: int, checkpointing: bool) -> Any:
    """The settings in our words."""
    from callwright.spec.model import Train

    return Train(
        steps=steps, batch_size=BATCH, sequences_per_step=BATCH * ACCUMULATION, learning_rate=RATE, warmup_ratio=0,
        schedule="constant", weight_decay=WEIGHT_DECAY, max_grad_norm=GRAD_NORM, dtype="bfloat16", seed=SEED,
        gradient_checkpointing=checkpointing,
    )  # fmt: skip


def load_ours(work: Path, train: Any, device: Any) -> Any:
    """Our base with the adapter that all begin with, made by its seed."""
    from callwright.spec.model import Base, Lora
    from callwright.trainer.model import load_model

    lora = Lora(rank=RANK, alpha=ALPHA, dropout=DROPOUT)
    return load_model(work / "base", Base(model="generated"), lora, train, device)


def load_adapter(model: Any, work: Path) -> None:
    """Give a peer's model the adapter that all begin with."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    set_peft_model_state_dict(model, load_file(work / "adapter" / "adapter_model.safetensors"))


def tokenizer(work: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(work / "base")


def dataset(work: Path) -> Any:
    """The encoded rows in the order of the steps, as peers take them."""
    with (work / "rows.jsonl").open() as lines:
        return [json.loads(line) for line in lines]


def taking_turns(turns: Turns) -> Any:
    """A callback that takes each of a Trainer's steps in its turn."""
    from transformers import TrainerCallback

    class TakingTurns(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            turns.wait()

        def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
            if "loss" in logs:
                turns.tell(float(logs["loss"]))

    return TakingTurns()


# What they all get.


def make_inputs(work: Path, shape: str, steps: int, *, device: str) -> list[int]:
    """Write base, adapter, and rows for ours and for the peers; return the tokens of each step."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from callwright.datasets.prepare import prepare
    from callwright.spec.model import Data, Source
    from callwright.trainer.batches import BatchPlan
    from callwright.trainer.train_loop import save_adapter

    base = work / "base"
    write_rows(work / "text.jsonl", 900, new_prompts=False)
    write_base(base, work / "text.jsonl")
    torch.manual_seed(SEED)
    config = AutoConfig.for_model("qwen2", **SHAPES[shape], max_position_embeddings=4096)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(base)
    del model
    names = ("toolalpaca_ms_agent", "seal_tools_openai", "self_instruct_ms_bench")
    found = Data(
        sources=tuple(Source(path=str(CORPORA / f"{name}.jsonl")) for name in names), max_length=LONGEST,
        test_fraction=0, strict="keep", loss={"preset": "all"},
    )  # fmt: skip
    made = prepare(found, dialect="ms_agent", base_dir=base, folder=work / "data")
    rows = write_chosen(made.train, work / "train.arrow")
    train = settings(steps, False)
    save_adapter(load_ours(work, train, torch.device(device)).model, work / "adapter")
    plan = BatchPlan(rows.lengths, train, 1)
    order = [plan.sequences(step) for step in range(1, steps + 1)]
    with (work / "rows.jsonl").open("w") as lines:
        for row in rows.describe([number for numbers in order for number in numbers]):
            labels = [i if weight else -100 for i, weight in zip(row["input_ids"], row["weights"], strict=True)]
            lines.write(json.dumps({"input_ids": row["input_ids"], "labels": labels}) + "\n")
    torch.cuda.empty_cache()
    return [sum(rows.lengths[row] for row in numbers) for numbers in order]


def write_chosen(source: Path, target: Path) -> Any:
    """Copy the rows of the asked lengths; returns them as ours."""
    from callwright.datasets.arrow import Writer, to_batch
    from callwright.datasets.encoding import Example
    from callwright.trainer.rows import Rows

    rows = Rows.open(source)
    chosen = [row for row, length in enumerate(rows.lengths) if SHORTEST <= length <= LONGEST]
    with Writer(target) as writer:
        writer.write(to_batch([Example(**row) for row in rows.describe(chosen)]))
    return Rows.open(target)


# Measuring.


class Contender:
    """One contender's process, and what its steps took."""

    def __init__(self, name: str, python: str, work: Path, steps: int, device: str, checkpointing: bool) -> None:
        self.took: list[dict[str, float]] = []
        self.failed: str | None = None
        self._errors = work / f"{name}.errors"
        environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        environment |= dict.fromkeys(("HF_HOME", "MODELSCOPE_CACHE"), str(work / "cache"))
        environment["CUDA_VISIBLE_DEVICES"] = "" if device == "cpu" else environment.get("CUDA_VISIBLE_DEVICES", "0")
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [python, __file__, "--contender", name, str(work), str(steps), str(int(checkpointing))],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment,
            )  # fmt: skip

    def until(self, key: str) -> dict[str, float]:
        """The next line with `key` that it tells; nothing once it has failed."""
        assert self._process.stdout
        for line in self._process.stdout:
            if key in (found := json.loads(line)):
                return dict(found)
        self.failed = "; ".join(self._errors.read_text(errors="replace").strip().splitlines()[-1:])
        return {}

    def step(self) -> None:
        """Have it take a step."""
        if not self.failed and self.until("ready"):
            assert self._process.stdin
            print("go", file=self._process.stdin, flush=True)
            if found := self.until("loss"):
                self.took.append(found)

    def end(self) -> None:
        """End its process."""
        self._process.kill()
        self._process.communicate()


def compete(
    pythons: dict[str, str], work: Path, tokens: list[int], *, device: str, checkpointing: bool
) -> dict[str, Any]:
    """Let the contenders take their steps in turn; returns their results by name."""
    given = work, len(tokens), device, checkpointing
    contenders = {name: Contender(name, python, *given) for name, python in pythons.items()}
    names = list(contenders)
    try:
        for step in range(len(tokens)):
            first = step % len(names)
            for name in names[first:] + names[:first]:
                contenders[name].step()
            print(step + 1, {n: each.took[-1:] for n, each in contenders.items()}, file=sys.stderr, flush=True)
    finally:
        for each in contenders.values():
            each.end()
    return {name: each.failed or summary(each.took, tokens) for name, each in contenders.items()}


def summary(took: list[dict[str, float]], tokens: list[int]) -> dict[str, Any]:
    """Speed, memory and losses of one contender; its first step warms up."""
    rates = sorted(count / each["seconds"] for count, each in zip(tokens[1:], took[1:], strict=True))
    found = {
        "tokens_per_second": round(statistics.median(rates), 1), "slowest_step": round(rates[0], 1),
        "fastest_step": round(rates[-1], 1),
        "cpu_seconds": round(sum(each["cpu_seconds"] for each in took[1:]), 2), "peak_mib": round(took[-1]["peak_mib"]),
    }  # fmt: skip
    if "peak_gpu_mib" in took[-1]:
        found["peak_gpu_mib"] = round(took[-1]["peak_gpu_mib"])
    return found | {"losses": [round(each["loss"], 4) for each in took]}


def compare(found: dict[str, Any]) -> None:
    """Put beside the figures what the goals speak of: speed, memory and losses against each peer."""
    ours = found["callwright"]
    for name, theirs in list(found.items()):
        if name == "callwright" or "losses" not in theirs or "losses" not in ours:
            continue
        pairs = list(zip(ours["losses"], theirs["losses"], strict=True))
        apart = max(abs(a - b) / b for a, b in pairs)
        found[f"against {name}"] = {
            "times_faster": round(ours["tokens_per_second"] / theirs["tokens_per_second"], 2),
            "times_the_memory": round(ours["peak_mib"] / theirs["peak_mib"], 2),
            "losses_differ_by_at_most": round(apart, 5),
            "loss_curves_agree": apart <= LOSS_TOLERANCE,
        }


def add_utilisation(found: dict[str, Any], shape: str) -> None:
    """Put the share of the GPU's matrix speed beside each contender's tokens per second.

    A step needs, for each token and each weight in a product, two operations forward and two for the gradient of its
    input: the base's weights are frozen.
    """
    size = SHAPES[shape]
    width, inner = size["hidden_size"], size["intermediate_size"]
    keys = width // size["num_attention_heads"] * size["num_key_value_heads"]
    layer = 2 * width * width + 2 * width * keys + 3 * width * inner
    each_token = 4 * (size["num_hidden_layers"] * layer + width * size["vocab_size"])
    speed = matrix_speed()
    found["bfloat16_matrix_tflops"] = round(speed / 1e12)
    for each in found.values():
        if "tokens_per_second" in (each if isinstance(each, dict) else {}):
            each["utilisation"] = round(each["tokens_per_second"] * each_token / speed, 3)


def matrix_speed() -> float:
    """Operations a second of a large bfloat16 product on this GPU."""
    import torch

    left, right = (torch.randn(8192, 8192, dtype=torch.bfloat16, device="cuda") for _ in range(2))
    best = float("inf")
    for _ in range(20):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        left @ right
        end.record()
        end.synchronize()
        best = min(best, start.elapsed_time(end) / 1000)
    return float(2 * 8192**3 / best)


def measure(shape: str, pythons: dict[str, str], steps: int, *, device: str) -> dict[str, Any]:
    """All contenders on one base, with and without gradient checkpointing; on a GPU one after the other."""
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="callwright-bench-") as folder:
        work = Path(folder)
        tokens = make_inputs(work, shape, steps, device=device)
        for checkpointing in (False, True):
            results["gradient checkpointing" if checkpointing else "no gradient checkpointing"] = found = {}
            for together in [pythons] if device == "cpu" else [{name: python} for name, python in pythons.items()]:
                found |= compete(together, work, tokens, device=device, checkpointing=checkpointing)
            compare(found)
            if device == "cuda":
                add_utilisation(found, shape)
    return {"tokens": sum(tokens), **results}


def main() -> None:
    """Run the bench, or one contender of it."""
    if sys.argv[1:2] == ["--contender"]:
        name, work, steps, checkpointing = sys.argv[2:]
        CONTENDERS[name](Path(work), int(steps), bool(int(checkpointing)))
        return
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("steps", type=int, nargs="?", default=8)
    options.add_argument("--peers", default=os.environ.get("BENCH_PEERS"), help="a Python that has ms-swift")
    given = options.parse_args()
    if not CORPORA.is_dir():
        print(json.dumps({"skipped": "needs the real corpora of ../shared/data"}))
        return
    import torch

    pythons = dict.fromkeys(("callwright", "Trainer + PEFT"), sys.executable)
    peers = {"ms-swift": given.peers} if given.peers else {}
    results: dict[str, Any] = {**machine(pythons | peers), "steps": given.steps}
    if not peers:
        results["ms-swift"] = {"skipped": "no Python with ms-swift; name one in --peers or BENCH_PEERS"}
    results["29M on the CPU"] = measure("29M", pythons | peers, given.steps, device="cpu")
    results["7B on a GPU"] = {"skipped": "torch sees no GPU here"}
    if torch.cuda.is_available():
        results["7B on a GPU"] = measure("7B", pythons, given.steps, device="cuda")
    print(json.dumps(results, indent=2))
    (ROOT / "bench" / "results" / "train.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def machine(pythons: dict[str, str]) -> dict[str, Any]:
    """What this runs on, and the versions of what takes part."""
    script = "import importlib.metadata as m, json; print(json.dumps({n: m.version(n) for n in %r}))"
    common = ("torch", "transformers", "peft")
    names = {"ms-swift": ("ms-swift", *common), "Trainer + PEFT": common}
    cpus = [line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    versions = {
        name: json.loads(subprocess.check_output([pythons[name], "-c", script % (wanted,)]))
        for name, wanted in names.items() if name in pythons
    }  # fmt: skip
    return {
        "python": platform.python_version(), "cores": os.cpu_count(), "cpu": cpus[0], "load": os.getloadavg(),
        "versions": versions,
    }  # fmt: skip


if __name__ == "__main__":
    main()
