"""`callwright demo`: the whole loop on one machine, from generated conversations to a served tool call."""

import contextlib
import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from callwright.cli import output
from callwright.cli.run import open_run, promote, serving_candidate, write_page
from callwright.errors import GateFailed, Interrupted, InvalidInput
from callwright.merger.stage import merge_run
from callwright.progress import in_bytes
from callwright.run import Run
from callwright.server.local import Stack
from callwright.server.preflight import check_port

if TYPE_CHECKING:
    from callwright.evaluator.findings import Findings

_QUESTION = "I weigh 68.5 kg and am 1.74 m tall. What is my BMI?"
_TOOLS = ("calculate_bmi", "book_appointment", "find_route")
"""What the request is shown with; the first, which it is about, is of a field that is never trained on."""
_RESULT = {"bmi": 22.6}
_MARK = ".callwright-demo"
"""File by which the demo knows its own folder."""
_CACHE = "cache"
"""Folder in it that outlives a demo: the converted base, which other commands put there too."""


def demo(
    base: Annotated[
        str | None, typer.Option(help="Base to teach: a model's directory or a hub id; the demo's own.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Train on five times as many conversations.")] = False,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Draws other conversations for the same tools.")] = 11,
    root: Annotated[Path, typer.Option(help="Folder for everything that the demo makes.")] = Path(".callwright/demo"),
    only_write: Annotated[
        bool, typer.Option("--only-write", help="Write base, conversations and document, and stop.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Go on serving at the end, until Ctrl-C.")] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the OpenAI endpoint.")] = 8100,
    engine_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the engine behind it.")] = 8000,
) -> None:
    """Teach a small language model to call tools, serve it, and show what it has learned.

    Trains afresh every time; the model and the report stay in the folder.
    """
    from callwright.demo.corpus import FULL, Sizes, write_corpus
    from callwright.demo.document import write_document

    for each in (port, engine_port):
        check_port("127.0.0.1", each)
    root = root.absolute()
    _clear(root)
    seconds: dict[str, float] = {}
    with _timed(seconds, "base"):
        base = _base(base, root)
    with _timed(seconds, "corpus"):
        corpus = write_corpus(root / "data", seed=seed, sizes=FULL if full else Sizes())
        file = write_document(root / "finetune.yaml", corpus, base=base, seed=seed)
    if only_write:
        output.note(f"the document: {_short(file)}")
        return
    run = open_run(file, store=(root / "store").as_uri(), root=root)
    output.note(f"the document: {_short(file)}")
    try:
        _play(run, seconds, root=root, keep=keep, port=port, engine_port=engine_port)
    except (KeyboardInterrupt, Interrupted) as stop:
        command = shlex.join([*_program(), "run", _short(file), "--root", _short(root), "--store", run.store.url])
        raise Interrupted.told(stop, f"what is done stays in {_short(root)}; to carry on: {command}") from None


def _base(base: str | None, root: Path) -> str:
    from callwright.demo.base import smollm2

    if base is None:
        return str(smollm2(root / _CACHE, on_note=output.note))
    return str(Path(base).absolute()) if Path(base).is_dir() else base


def _clear(root: Path) -> None:
    """Make `root` a folder with nothing but the cache of earlier demos. Raises `InvalidInput` where it holds anything
    but what one made.
    """
    others = root.exists() and (not root.is_dir() or any(each.name != _CACHE for each in root.iterdir()))
    if others and not (root / _MARK).is_file():
        raise InvalidInput(
            f"demo: {_short(root)} holds other files, which the demo would delete; expected a new folder, an empty one "
            "or an earlier demo's; choose another --root"
        )
    root.mkdir(parents=True, exist_ok=True)
    for made in root.iterdir():
        if made.name == _CACHE:
            continue
        if made.is_dir() and not made.is_symlink():
            shutil.rmtree(made)
        else:
            made.unlink()
    (root / _MARK).touch()


def _play(run: Run, seconds: dict[str, float], *, root: Path, keep: bool, port: int, engine_port: int) -> None:
    from callwright.datasets.prepare import prepare_run
    from callwright.evaluator.stage import evaluate_run
    from callwright.trainer.stage import train_run

    with _timed(seconds, "data"), output.progress("data") as advance:
        prepared = prepare_run(run, on_progress=advance)
    output.note(f"data: {prepared.train_rows} conversations, {prepared.train_tokens} tokens to train on")
    with _timed(seconds, "train"), output.progress("train") as advance:
        trained = train_run(run, on_progress=advance, on_note=output.note)
    shutil.copy(run.workdir / "curve.png", root / "curve.png")
    output.note(f"train: loss {trained['loss']:.3f}; the curve: {_short(root / 'curve.png')}")
    with _timed(seconds, "merge"), output.progress("merge") as advance:
        manifest = merge_run(run, on_progress=in_bytes(advance))
    output.note(f"merge: {manifest.name} {manifest.version}, {manifest.size / 1e6:.1f} MB in {run.store.url}")
    with contextlib.ExitStack() as running:
        with _timed(seconds, "serve"):
            serving = serving_candidate(run, port=port, engine_port=engine_port)
            stack, trial = running.enter_context(serving)
        with _timed(seconds, "evaluate"), output.progress("evaluate") as advance:
            findings = evaluate_run(
                run, base_url=stack.base_url, base_id=trial.base, promoted_id=trial.promoted, on_progress=advance,
                on_note=output.note,
            )  # fmt: skip
        _show_table(findings)
        failed = _promote(run)
        with _timed(seconds, "request"):
            shown = _show_request(stack, run.model)
        report = _report(run, trained, seconds, stack, shown)
        (root / "report.json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        page = write_page(run, root / "report.html")
        output.note(f"the report: {_short(page)}; its figures: {_short(root / 'report.json')}")
        if keep:
            _show_curl(stack, run.model)
            with contextlib.suppress(KeyboardInterrupt):
                stack.wait()
    if failed:
        raise failed


def _show_table(findings: "Findings") -> None:
    from callwright.evaluator.figures import comparison

    output.out.print()
    output.out.print(comparison(findings.reports, title="measured through the served endpoint"))


def _promote(run: Run) -> GateFailed | None:
    try:
        output.note(f"promote: {promote(run)}")
    except GateFailed as error:
        return error
    return None


def _show_request(stack: Stack, model: str) -> dict[str, Any]:
    """Stream one request, print its tool calls, send the result back and print the final answer."""
    from openai import OpenAI

    client = OpenAI(base_url=stack.base_url, api_key="none")
    tools: Any = _tools()
    messages: list[Any] = [{"role": "user", "content": _QUESTION}]
    output.out.print()
    _say("user", _QUESTION)
    with client.chat.completions.stream(model=model, messages=messages, tools=tools, temperature=0) as stream:
        for _ in stream:
            pass
        answer = stream.get_final_completion().choices[0].message
    calls = [{"name": c.function.name, "arguments": c.function.arguments} for c in answer.tool_calls or []]
    _say("tool_calls", json.dumps(calls, ensure_ascii=False))
    messages.append(
        answer.model_dump(include={"role", "content", "reasoning_content", "tool_calls"}, exclude_none=True)
    )
    for call in answer.tool_calls or []:
        messages.append({"role": "tool", "tool_call_id": call.id, "content": json.dumps(_RESULT)})
        _say("tool", json.dumps(_RESULT))
    final = client.chat.completions.create(model=model, messages=messages, tools=tools, temperature=0)
    text = final.choices[0].message.content
    _say("assistant", f"{text}\n")
    return {"question": _QUESTION, "tool_calls": calls, "answer": text}


def _say(who: str, what: str) -> None:
    output.out.print(f"{who:<10} ", style="bold", end="")
    output.out.print(what)


def _report(
    run: Run, trained: dict[str, Any], seconds: dict[str, float], stack: Stack, shown: dict[str, Any]
) -> dict[str, Any]:
    peaks = stack.peak_bytes()
    return {
        "model": run.model,
        "version": run.version,
        "evaluation": run.read_json("evaluation.json"),
        "request": shown,
        "seconds": seconds | {"total": round(sum(seconds.values()), 1)},
        "train": {name: trained[name] for name in ("steps", "loss", "tokens_per_second", "workers")},
        "peak_rss_bytes": {"train_worker": trained["peak_rss_bytes"], **peaks},
        "versions": trained["versions"],
        "cpus": os.cpu_count(),
    }


def _show_curl(stack: Stack, model: str) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": _QUESTION}], "tools": _tools()}
    output.out.print(f"serving at {stack.base_url}; Ctrl-C stops it. Try:")
    output.out.print(
        f"curl -s {stack.base_url}/chat/completions -H 'content-type: application/json' -d '{json.dumps(body)}'",
    )


def _tools() -> list[dict[str, Any]]:
    from callwright.demo.catalogue import every
    from callwright.demo.looks import PLAIN, declared

    return [declared(tool, PLAIN) for name in _TOOLS for tool in every() if tool.name == name]


def _short(path: Path) -> str:
    return os.path.relpath(path)


def _program() -> list[str]:
    """Return how to call this program here, as words of a command line."""
    called, found = Path(sys.argv[0]), shutil.which("callwright")
    if called.name == "__main__.py":
        return [sys.executable, "-m", "callwright.cli"]
    return ["callwright"] if found and Path(found).resolve() == called.resolve() else [_short(called)]


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Put the seconds that the block takes into `seconds`."""
    began = time.monotonic()
    yield
    seconds[stage] = round(time.monotonic() - began, 1)
