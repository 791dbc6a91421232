"""The data stage: time, CPU and memory side by side with ms-swift's own encoding and with plain `datasets.map`.

`python bench/data.py [ROWS] [PROCESSES] [--peers PYTHON]` writes rows made of the corpora in ../shared/data, gives the
same file to each contender in a process of its own, and prints JSON, also into bench/results/data.json. The peers need
packages that are no part of Callwright: `pip install ms-swift` into an environment of its own and name its Python in
`--peers` or BENCH_PEERS, or they are left out and said to be. Imports and loading the tokenizer are not counted in
seconds; CPU seconds are of all processes since then; memory is the sum over all processes, mapped files left out.

Each contender reads the same JSON Lines in ms_agent form and ends with an Arrow file. Callwright also checks, splits
off a test set, shuffles, and weighs every token; ms-swift weighs by `react.json`; plain map only templates and
tokenises.
`every_prompt_new`: each row lists its tools in an order of its own, so that hardly a system text comes twice.
`prompts_shared`: tools stay in the corpus's order. `a_tenth_of_the_rows` says whether memory grows with the corpus.
"""

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CORPORA = ROOT.parent / "shared" / "data"
QWEN_PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MAX_LENGTH = 4096
WORDS = "amber basil cedar delta ember fjord grove haven inlet jetty kayak ledge maple north ocean pearl quartz".split()


# The rows and the tokenizer that all contenders get.


def write_rows(path: Path, count: int, *, new_prompts: bool) -> None:
    """Write `count` conversations of the real corpora in ms_agent form, each with words and numbers of its own."""
    from callwright import dialects
    from callwright.datasets import Conversation, readers
    from callwright.datasets.convert import rendered

    seeds: list[Conversation] = []
    for name in ("toolalpaca_ms_agent", "seal_tools_openai", "self_instruct_ms_bench"):
        seeds += readers.read(CORPORA / f"{name}.jsonl", strict="keep")
    chance = random.Random(0)
    dialect = dialects.load("ms_agent")
    with path.open("w", encoding="utf-8") as lines:
        for number in range(count):
            seed = chance.choice(seeds)
            tools = chance.sample(seed.tools, len(seed.tools)) if new_prompts else seed.tools
            messages = tuple(_varied(message, chance) for message in _answered(seed.messages))
            lines.write(rendered(Conversation(str(number), messages, tuple(tools)), dialect) + "\n")


def _answered(messages: tuple[dict[str, Any], ...]) -> Iterator[dict[str, Any]]:
    """The conversation with results and an answer, where it ends with calls."""
    yield from messages
    calls = messages[-1].get("tool_calls", ())
    for call in calls:
        done = json.dumps({"status": "ok", "echo": call["function"]["arguments"]})
        yield {"role": "tool", "tool_call_id": call["id"], "content": done}
    if calls:
        yield {"role": "assistant", "content": f"Done: {', '.join(call['function']['name'] for call in calls)}."}


def _varied(message: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    if not message["content"]:
        return message
    more = " ".join(chance.choices(WORDS, k=6))
    return {**message, "content": f"{message['content']} ({more} {chance.randrange(10**6)})"}


def write_base(folder: Path, rows: Path) -> None:
    """A tokenizer with Qwen's pattern, trained on the rows, and the config that makes ms-swift take it for Qwen2."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=16_000,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    with rows.open(encoding="utf-8") as lines:
        texts = (turn["value"] for line in islice(lines, 2000) for turn in json.loads(line)["conversations"])
        tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    fast.chat_template = CHATML
    fast.save_pretrained(folder)
    config = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "max_position_embeddings": 32768}
    (folder / "config.json").write_text(json.dumps(config))


# The contenders: each is given a file and a base, and returns rows and seconds.


def run_callwright(rows: Path, base: Path, processes: int, work: Path) -> dict[str, Any]:
    from callwright.datasets.prepare import prepare
    from callwright.datasets.tokenizer import load_tokenizer
    from callwright.spec.model import Data, Source

    data = Data(sources=(Source(path=str(rows)),), max_length=MAX_LENGTH, strict="keep")
    load_tokenizer(base)
    started = _start(work)
    made = prepare(data, dialect="ms_agent", base_dir=base, folder=work, processes=processes)
    return {"rows": made.train_rows + made.test_rows, "seconds": round(time.perf_counter() - started, 2)}


def run_swift(rows: Path, base: Path, processes: int, work: Path) -> dict[str, Any]:
    from swift.dataset import EncodePreprocessor, load_dataset
    from swift.model import get_processor
    from swift.template import get_template

    processor = get_processor(str(base), model_type="qwen2", download_model=False)
    template = get_template(processor, template_type="chatml", max_length=MAX_LENGTH, loss_scale="react")
    template.set_mode("train")
    started = _start(work)
    loaded, _ = load_dataset([str(rows)], num_proc=processes, load_from_cache_file=False)
    encoded = EncodePreprocessor(template=template)(loaded, num_proc=processes, load_from_cache_file=False)
    seconds = round(time.perf_counter() - started, 2)
    return {"rows": len(encoded), "seconds": seconds}


def run_map(rows: Path, base: Path, processes: int, work: Path) -> dict[str, Any]:
    from transformers import AutoTokenizer

    from datasets import load_dataset

    tokenizer = AutoTokenizer.from_pretrained(base)

    def encode(row: dict[str, Any]) -> dict[str, Any]:
        messages = [{"role": turn["from"], "content": turn["value"]} for turn in row["conversations"]]
        return {"input_ids": tokenizer.apply_chat_template(messages, return_dict=False)[:MAX_LENGTH]}

    started = _start(work)
    loaded = load_dataset("json", data_files=str(rows), split="train", cache_dir=str(work))
    encoded = loaded.map(encode, num_proc=processes, remove_columns=loaded.column_names, load_from_cache_file=False)
    return {"rows": len(encoded), "seconds": round(time.perf_counter() - started, 2)}


def _start(work: Path) -> float:
    """Tell the watcher that the work begins."""
    (work / "started").touch()
    return time.perf_counter()


CONTENDERS = {"callwright": run_callwright, "ms-swift": run_swift, "datasets.map": run_map}


# Measuring: every process of a contender's session, ten times a second.


def measure(name: str, python: str, rows: Path, base: Path, processes: int) -> dict[str, Any]:
    """Run one contender and watch it: CPU seconds and peak memory of its own over all its processes."""
    with tempfile.TemporaryDirectory() as work:
        command = [python, __file__, "--contender", name, str(rows), str(base), str(processes), work]
        environment = {
            **os.environ, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "HF_HOME": work,
            "MODELSCOPE_CACHE": work, "HF_DATASETS_CACHE": work,
        }  # fmt: skip
        errors = Path(work) / "errors"
        with errors.open("wb") as stream:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=stream, env=environment, start_new_session=True
            )
            cpu: dict[int, float] = {}
            peak, before = 0, 0.0
            while process.poll() is None:
                peak = max(peak, _look(process.pid, cpu))
                if not (Path(work) / "started").exists():
                    before = sum(cpu.values())
                time.sleep(0.1)
        output = process.stdout.read().decode() if process.stdout else ""
        if process.returncode:
            return {"failed": errors.read_text(errors="replace").strip().splitlines()[-1:]}
        found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return {
        **found,
        "rows_per_second": round(found["rows"] / found["seconds"], 1),
        "cpu_seconds": round(sum(cpu.values()) - before, 1),
        "peak_mib": round(peak / 1024, 1),
    }


def _look(session: int, cpu: dict[int, float]) -> int:
    """Note the CPU time of each process of the session; return their memory in KiB, mapped files left out."""
    memory = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) != session:
                continue
            cpu[int(folder.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            status = (folder / "status").read_text()
        except (OSError, IndexError):
            continue
        memory += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith(("RssAnon", "RssShmem")))
    return memory


def main() -> None:
    """Run the bench, or one contender of it."""
    if sys.argv[1:2] == ["--contender"]:
        name, rows, base, processes, work = sys.argv[2:]
        print(json.dumps(CONTENDERS[name](Path(rows), Path(base), int(processes), Path(work))))
        return
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("rows", type=int, nargs="?", default=50_000)
    options.add_argument("processes", type=int, nargs="?", default=min(4, os.cpu_count() or 1))
    options.add_argument("--only", choices=CONTENDERS)
    options.add_argument("--peers", default=os.environ.get("BENCH_PEERS"), help="a Python that has ms-swift")
    given = options.parse_args()
    if not CORPORA.is_dir():
        print(json.dumps({"skipped": "needs the real corpora of ../shared/data"}))
        return
    results: dict[str, Any] = {
        "rows": given.rows, "processes": given.processes, "python": platform.python_version(), "cores": os.cpu_count(),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "base"
        for scene, count, new, names in (
            ("every_prompt_new", given.rows, True, CONTENDERS),
            ("prompts_shared", given.rows // 5, False, CONTENDERS),
            ("a_tenth_of_the_rows", given.rows // 10, True, ["callwright"]),
        ):
            rows = Path(folder) / f"{scene}.jsonl"
            write_rows(rows, count, new_prompts=new)
            if not base.is_dir():
                write_base(base, rows)
            results[scene] = found = {}
            for name in names:
                if given.only not in (None, name):
                    continue
                python = sys.executable if name == "callwright" else given.peers
                if python is None:
                    found[name] = {"skipped": "no Python with ms-swift; name one in --peers or BENCH_PEERS"}
                else:
                    found[name] = measure(name, python, rows, base, given.processes)
                print(scene, name, json.dumps(found[name]), file=sys.stderr, flush=True)
            rows.unlink()
    _compare(results)
    print(json.dumps(results, indent=2))
    target = ROOT / "bench" / "results" / "data.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def _compare(results: dict[str, Any]) -> None:
    """Put the ratios that the goals speak of beside the figures."""
    for scene in ("every_prompt_new", "prompts_shared"):
        own = results[scene].get("callwright", {})
        for peer in ("ms-swift", "datasets.map"):
            other = results[scene].get(peer, {})
            if "seconds" in other and "seconds" in own:
                results[scene][f"times_faster_than_{peer}"] = round(other["seconds"] / own["seconds"], 2)
    full, tenth = (results[scene].get("callwright", {}) for scene in ("every_prompt_new", "a_tenth_of_the_rows"))
    if "peak_mib" in full and "peak_mib" in tenth:
        results["callwright_peak_ratio_full_to_tenth"] = round(full["peak_mib"] / tenth["peak_mib"], 2)


if __name__ == "__main__":
    main()
