"""The stage `merge` of a run: its adapter and its base become a version of the document's model.

Knows the FineTune document and where a run leaves its adapter; the merge itself is `merging`'s.
"""

import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from callwright import dialects
from callwright.datasets import parity
from callwright.datasets.choosing import NATIVE, choose
from callwright.datasets.tokenizer import added_tokens, load_tokenizer
from callwright.dialects.foreign import special_tokens
from callwright.errors import InvalidInput, NotFound
from callwright.merger.companions import listed_special_tokens
from callwright.merger.merging import Inputs, merge, read_inputs
from callwright.progress import Advance, silent
from callwright.run import Run
from callwright.spec.identity import FIRST_DEFAULTS
from callwright.store import Manifest, Parity, Template

_log = logging.getLogger(__name__)


def merge_run(
    run: Run,
    *,
    version: str | None = None,
    adapter_dir: Path | None = None,
    verify: bool = True,
    on_progress: Advance = silent,
) -> Manifest:
    """Merge the run's adapter into its base and publish it as a version of the model, or find it published.

    `version` defaults to the run's own, and `adapter_dir` is a local adapter to merge instead of the run's. Progress
    is in bytes. Raises `NotFound` when the run has no adapter or the base is not there, and what `merge` raises.
    """
    spec = run.finetune.spec
    report, sampled = run.read_json("report.json"), run.read_json(f"data/{parity.FILE}")
    dialect, stop, template = _spoken(run, sampled)
    with _adapter(run, adapter_dir) as adapter:
        return merge(
            base_dir=run.base_dir,
            adapter_dir=adapter,
            store=run.store,
            name=run.model,
            version=version or run.version,
            dialect=dialect,
            stop=stop,
            base=spec.base.model_dump(),
            dtype=spec.merge.dtype,
            shard_bytes=spec.merge.shard_bytes,
            metrics={"train": report} if report else {},
            tolerance=spec.merge.tolerance if verify else None,
            template=template,
            measure_parity=partial(_parity, sampled, dialect) if sampled else None,
            on_progress=on_progress,
        )


def plan_run(run: Run, *, adapter_dir: Path | None = None) -> Inputs:
    """Plan what `merge_run` would do. Raises what it raises about its inputs."""
    settings = run.finetune.spec.merge
    with _adapter(run, adapter_dir) as adapter:
        return read_inputs(run.base_dir, adapter, dtype=settings.dtype, shard_bytes=settings.shard_bytes)


def _spoken(run: Run, sampled: dict[str, Any]) -> tuple[str, tuple[str, ...], Template | None]:
    """Return the dialect that the run was trained in, its stop strings, and how the chat template was called.

    Raises `InvalidInput` where that is another dialect than the document names.
    """
    spec = run.finetune.spec
    if not sampled:  # an adapter from elsewhere
        if spec.dialect in dialects.TEXT_NAMES:
            return spec.dialect, dialects.load(spec.dialect).stop, None
        choice = choose(spec.dialect, load_tokenizer(run.base_dir), spec.base.template_arguments)
        return choice.dialect.name, choice.stop, choice.template
    # Before the dialect stood beside the sample it was the document's.
    trained = sampled.get("dialect") or spec.dialect or FIRST_DEFAULTS["FineTuneSpec.dialect"]
    if spec.dialect not in (None, NATIVE, trained):
        raise InvalidInput(
            f"merging run {run.name}: it was trained in the dialect {trained}; the document says {spec.dialect}; set "
            f"dialect to {trained}, or change metadata.name and train anew"
        )
    stop = tuple(sampled.get("stop", dialects.load(trained).stop))
    return trained, stop, Template.model_validate(sampled["template"])


def _parity(sampled: dict[str, Any], dialect: str, files: Mapping[str, bytes | Path]) -> Parity:
    """Compare the prompts that a version's own tokenizer and chat template make with the run's."""
    with TemporaryDirectory() as folder:
        for name, content in files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
        tokenizer = load_tokenizer(Path(folder))
        if told := differing_tokens(listed_special_tokens(files), special_tokens(added_tokens(tokenizer))):
            _log.warning("merging: %s", told)
        return parity.measure(sampled, dialect, tokenizer)


def differing_tokens(listed: Collection[str] | None, loaded: Collection[str]) -> str:
    """Return how the special tokens that a manifest lists differ from the loaded tokenizer's, which training broke.

    Serving breaks those that are listed. Empty where they do not differ.
    """
    listed = set(loaded if listed is None else listed)
    if not (apart := sorted(listed.symmetric_difference(loaded))):
        return ""
    named = ", ".join(f"{token!r} ({'listed' if token in listed else 'loaded'})" for token in apart[:5])
    return f"special tokens listed by the version's files and by its loaded tokenizer differ in {len(apart)}: {named}"


@contextmanager
def _adapter(run: Run, adapter_dir: Path | None) -> Iterator[Path]:
    """The folder of the adapter to merge; the run's own is copied from the store for as long as the block lasts."""
    if adapter_dir is not None:
        yield adapter_dir
        return
    run.workdir.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="adapter-", dir=run.workdir) as folder:
        try:
            run.store.get_tree(run.key("adapter"), Path(folder))
        except NotFound:
            raise NotFound(
                f"merging run {run.name}: no {run.key('adapter')} in {run.store.url}; train the run first"
            ) from None
        yield Path(folder)
