"""Describes a model version (`manifest.json`) and the pointer to the promoted version (`promoted.json`).

Defines the shapes and the keys of the `models/` part of the store. Reads and writes nothing in it.
"""

import hashlib
import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from callwright.errors import InvalidInput

PROMOTED = "promoted"
"""Stands for the promoted version wherever a version is asked for; no version has this name."""
VERSION_HEADER = b"x-callwright-version"
"""HTTP header that names, as `name@version`, the version that a request is meant for and the one that has answered."""
CANARY_PREFIX = "/canary"
"""Path below which a version on trial is served, beside the one that stands."""
_NAME = re.compile(r"[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?")


class Frozen(BaseModel):
    """Read from a store that a newer Callwright may have written to: unknown keys are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True, allow_inf_nan=False)


class BaseModelRef(Frozen):
    model: str
    """The base as the FineTune names it: a directory, a store URL or a Hugging Face id."""
    revision: str | None = None
    """Its revision, where it has one."""


class FileEntry(Frozen):
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Digest of the file."""
    size: Annotated[int, Field(ge=0)]
    """Its bytes."""

    @classmethod
    def of(cls, content: bytes | Path) -> Self:
        """Return the entry of these bytes, or of a local file, which is read in blocks. Raises `OSError`."""
        if isinstance(content, bytes):
            return cls(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
        with content.open("rb") as file:
            return cls(sha256=hashlib.file_digest(file, "sha256").hexdigest(), size=file.tell())


class Verification(Frozen):
    """How far the merged weights are from base + adapter, measured on the published bytes."""

    method: str
    """How it was measured."""
    prompts: int
    """Probe prompts."""
    positions: int
    """Positions whose logits were compared."""
    max_difference: float
    """Largest absolute difference between two logits, divided by the reference logits' standard deviation."""
    mean_difference: float
    """Mean of the same."""
    top1_agreement: float
    """Share of positions where both prefer the same token."""
    tolerance: float
    """What `max_difference` was allowed to be."""


class Template(Frozen):
    """How the base's chat template was called in training; whoever calls it likewise makes the same prompts."""

    sha256: str
    """Digest of the template."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Its keyword arguments, beside messages."""
    tool_role: bool
    """Results stand in messages of the role tool; else they are the user's."""
    shows_reasoning: bool
    """Reasoning is given as `reasoning_content`; else it stands in the content, in a think block."""
    opens_reasoning: bool = False
    """The prompt of a turn ends within a think block."""
    resumes_reasoning: bool = False
    """So does the prompt of a turn after results, of a template that is given the tools."""
    tools: bool = False
    """It is given the tools and the calls, and writes them itself; else they stand in the messages' text."""
    keeps_think_blocks: bool = True
    """A think block within an assistant's content stays; else the template cuts the content at it."""
    default_system: str = ""
    """System text that the template writes by itself where there is no system message; the tools stand behind it."""

    @property
    def has_think_blocks(self) -> bool:
        """Whether it has a place for reasoning."""
        return self.shows_reasoning or self.opens_reasoning or self.resumes_reasoning


class Parity(Frozen):
    """Whether the version's own files make prompts of the tokens that training saw, on a sample of the run's rows."""

    prompts: int
    """Serving prompts that were made."""
    equal: int
    """Those that are the very tokens."""
    difference: str = ""
    """The first that is not, in words."""


class Manifest(Frozen):
    """One whole version of a model. A prefix of the store without it is not a model."""

    schema_version: Literal[1] = 1
    """Version of this document's shape."""
    name: str
    """Name of the model."""
    version: str
    """Name of the version."""
    dialect: str
    """Dialect that it was trained in."""
    stop: tuple[str, ...] = ()
    """Strings that end an answer of the model."""
    special_tokens: tuple[str, ...] | None = None
    """Of its tokenizer; None in a version that was made before they were listed."""
    base: BaseModelRef
    """The model that it was made from."""
    adapter_digest: str
    """sha256 over the adapter's configuration and weights."""
    inputs_digest: str = ""
    """sha256 over everything that decides the version's bytes: a merge of equal inputs makes an equal version."""
    dtype: str = "base"
    """Dtype asked for; `base` keeps each tensor's own."""
    files: dict[str, FileEntry]
    """Every file of the version but this one, by its path within the version."""
    metrics: dict[str, Any] = Field(default_factory=dict)
    """What the training measured."""
    template: Template | None = None
    """How its chat template is called; absent where no run's data says it."""
    parity: Parity | None = None
    """Serving's prompts against training's; absent where no run's data says what training saw."""
    verification: Verification | None = None
    """The merge's own check; absent when it was not asked for."""
    created_at: datetime
    """When it was published (UTC)."""

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(entry.size for entry in self.files.values())


class Promotion(Frozen):
    """The pointer to the promoted version, with those before it."""

    version: str
    """The promoted version."""
    history: tuple[str, ...] = ()
    """Versions promoted before it, newest last."""
    promoted_at: datetime
    """When (UTC)."""


def checked_name(value: str, *, what: str) -> str:
    """`value` if it can be part of a key. Raises `InvalidInput`; `what` is the word for it in the message."""
    if not _NAME.fullmatch(value) or len(value) > 128 or (what, value) == ("version", PROMOTED):
        expected = "expected up to 128 letters, digits, '-', '_' or '.'" + ", not 'promoted'" * (what == "version")
        raise InvalidInput(f"naming a {what}: got {value!r}; {expected}")
    return value


def model_prefix(name: str) -> str:
    """Return the key of everything about a model."""
    return f"models/{checked_name(name, what='model')}"


def version_prefix(name: str, version: str) -> str:
    """Return the key of a version's files."""
    return f"{model_prefix(name)}/versions/{checked_name(version, what='version')}"


def manifest_key(name: str, version: str) -> str:
    """Return the key of a version's manifest."""
    return f"{version_prefix(name, version)}/manifest.json"


def evaluation_key(name: str, version: str) -> str:
    """Return the key of the figures of a version's evaluation, which comes after its manifest."""
    return f"{model_prefix(name)}/evaluations/{checked_name(version, what='version')}.json"


def promotion_key(name: str) -> str:
    """Return the key of the pointer to the promoted version."""
    return f"{model_prefix(name)}/promoted.json"
