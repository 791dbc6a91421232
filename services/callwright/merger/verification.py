"""Verifies a merge: compares the logits of the merged weights with those of base + adapter, on probe prompts.

The reference is PEFT's forward pass, which shares no code with the merge. Both models compute in float32 and read a few
rows of a weight at a time from where they are, so memory does not grow with the model. How much the rounding of merged
weights changes the logits depends on the model: 0.044 of their deviation in bfloat16 with 30 layers of width 576, and
0.00002 with the reference's weights rounded alike. They are wherever LoRA is a sum; elsewhere `ALLOWED` bounds the
rounding. What is left is a mistake of the merge.
"""

import copy
import importlib.util
import json
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from callwright.errors import InvalidInput, StageFailed
from callwright.merger.checkpoint import Read, TensorRef, text_config
from callwright.merger.streamed_model import Stream, UnmappedError
from callwright.store import Verification
from callwright.store.model_folder import WITHOUT_CODE, loading

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PROMPTS, LENGTH = 4, 8
"""Probe prompts, and tokens of each."""
ALLOWED, ALIKE = {"F32": 0.01, "F64": 0.01, "F16": 0.2, "BF16": 1.0}, 0.1
"""Share of the tolerance that each dtype's rounding may use up: the tolerance itself is that of bfloat16. `ALIKE` is
for both rounded alike, where a sum in another order may fall on the other side.
"""
WHOLE_BYTES = 8_000_000_000
"""Largest model that is verified in memory, where it cannot be layer by layer."""
_PROMPT = (
    'Thought: I should call a tool.\nAction: get_weather\nAction Input: {"city": "Paris", "days": 3}\n你好，世界。'
)


@dataclass(frozen=True)
class Weights:
    """A model's tensors, and how to read them."""

    config: Mapping[str, Any]
    """Its config.json."""
    tensors: Mapping[str, TensorRef]
    read: Read


@dataclass(frozen=True)
class Comparison:
    """A merge to verify: base, adapter and the merged weights, each where it is."""

    base: Weights
    merged: Weights
    adapter_dir: Path
    base_dir: Path
    merged_dir: Callable[[Path], Path]
    """Makes the merged files a local directory, in the given one where they are not local yet."""


def verify(comparison: Comparison, *, tolerance: float, tokenizer: Path | None = None) -> Verification:
    """Compare the merged weights with base + adapter.

    The difference at a position is the root mean square over the vocabulary of the logits' difference, divided by the
    standard deviation of the reference's logits there. The largest may be a share of `tolerance`, by what rounding
    there is: see `ALLOWED` and `ALIKE`. Raises `StageFailed` above that, or when the merged weights are not exactly
    those that the model needs.
    """
    dtypes = {tensor.dtype for tensor in comparison.merged.tensors.values() if tensor.is_float}
    ids = _prompts(int(text_config(comparison.merged.config)["vocab_size"]), tokenizer)
    if importlib.util.find_spec("peft") is None:
        raise InvalidInput("verifying the merge: PEFT is not installed; install callwright[merger], or do not verify")
    with torch.inference_mode():
        try:
            method, (reference, found, exact) = "layer by layer", _layer_by_layer(comparison, ids)
        except UnmappedError:
            method, (reference, found), exact = "whole models", _whole(comparison, ids), dtypes
        # One prompt after the other: the logits of a large vocabulary are large themselves.
        each = [_compared(ours, theirs) for ours, theirs in zip(found, reference, strict=True)]
    differences, agree = (torch.stack(values) for values in zip(*each, strict=True))
    if not torch.isfinite(differences).all():
        raise StageFailed("verifying the merge: logits are not finite; expected a base and an adapter that compute")
    result = Verification(
        method=f"logits in float32, {method}, against PEFT",
        prompts=ids.shape[0],
        positions=ids.numel(),
        max_difference=float(differences.max()),
        mean_difference=float(differences.mean()),
        top1_agreement=float(agree.float().mean()),
        tolerance=tolerance * max(_share(dtype, exact) for dtype in dtypes or {"F32"}),
    )
    if result.max_difference > result.tolerance:
        raise StageFailed(
            f"verifying the merge: logits differ from base + adapter by {result.max_difference:.3g} of their "
            f"deviation; expected at most {result.tolerance:.3g}; nothing was published"
        )
    return result


def _share(dtype: str, exact: Collection[str]) -> float:
    """Return the share of the tolerance that weights of a dtype may use up, `exact` beside them or not."""
    return ALLOWED[dtype] if dtype in exact else min(ALIKE, ALLOWED[dtype])


def _compared(found: torch.Tensor, reference: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """[tokens] differences of logits [tokens, vocabulary], and whether both choose the same token."""
    differences = (found - reference).square_().mean(dim=-1).sqrt() / reference.std(dim=-1)
    return differences, found.argmax(-1) == reference.argmax(-1)


def _prompts(vocabulary: int, tokenizer: Path | None) -> torch.Tensor:
    """[prompts, tokens] ids: half of them a text where there is a tokenizer, the rest random and always the same."""
    ids = torch.randint(vocabulary, (PROMPTS, LENGTH), generator=torch.Generator().manual_seed(0))
    ids[-1, -1] = vocabulary - 1  # the newest token
    if tokenizer is not None and tokenizer.is_file():
        from tokenizers import Tokenizer

        try:
            loaded = Tokenizer.from_file(str(tokenizer))
        except Exception as error:  # noqa: BLE001 - the library raises nothing more exact
            raise InvalidInput(f"verifying the merge: {tokenizer}: not a tokenizer: {error}; save it anew") from None
        text = [token for token in loaded.encode(_PROMPT).ids if token < vocabulary]
        if len(text) >= LENGTH:
            ids[0], ids[1] = torch.tensor(text[:LENGTH]), torch.tensor(text[-LENGTH:])
    return ids


def _layer_by_layer(comparison: Comparison, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, set[str]]:
    """Logits of base + adapter and of the merged weights, reading each weight when it is needed; and the dtypes that
    base + adapter were not rounded to.
    """
    vocabulary = text_config(comparison.merged.config)["vocab_size"]
    with _quiet():
        base = _empty_model(_resized(comparison.base.config, vocabulary))
        tied = dict(base.all_tied_weights_keys)
        model = _with_adapter(base, comparison.adapter_dir)
        merged = _empty_model(comparison.merged.config)
    base_stream = _attach(model, comparison.base, tied, rounded=comparison.merged.tensors)
    placed = _attach(merged, comparison.merged, merged.all_tied_weights_keys).used
    # What the base has no place for either comes along.
    unused = sorted(set(comparison.merged.tensors) - placed - (set(comparison.base.tensors) - base_stream.used))
    if unused:
        raise StageFailed(f"verifying the merge: the model has no place for {', '.join(unused[:5])}")
    return _logits(model, ids), _logits(merged, ids), base_stream.exact


def _whole(comparison: Comparison, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the same with both models in memory, one after the other, for architectures that are converted on
    loading.
    """
    size = sum(tensor.nbytes for tensor in comparison.merged.tensors.values())
    if size > WHOLE_BYTES:
        raise InvalidInput(
            f"verifying the merge: this architecture needs the whole model in memory, {size / 1e9:.0f} GB; merge "
            "without verification to publish it all the same"
        )
    with _quiet(), TemporaryDirectory() as folder:
        model = _loaded(comparison.base_dir)
        if text_config(comparison.merged.config)["vocab_size"] != text_config(comparison.base.config)["vocab_size"]:
            model.resize_token_embeddings(text_config(comparison.merged.config)["vocab_size"])
        reference = _logits(_with_adapter(model, comparison.adapter_dir), ids)
        del model
        return reference, _logits(_loaded(comparison.merged_dir(Path(folder))), ids)


def _loaded(folder: Path) -> "PreTrainedModel":
    """Return a whole model. Raises `InvalidInput` where transformers would make up weights that its files lack."""
    from transformers import AutoModelForCausalLM

    with loading(folder):
        model, found = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True, use_safetensors=True, **WITHOUT_CODE
        )
    if missing := sorted(found["missing_keys"]):
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise InvalidInput(f"verifying the merge: {folder} lacks {', '.join(missing[:5])}{more}; fetch the base again")
    loaded: PreTrainedModel = model
    return loaded


def _logits(model: nn.Module, ids: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = model.eval()(input_ids=ids, use_cache=False).logits
    return logits.float()


def _attach(
    model: nn.Module, weights: Weights, tied: Mapping[str, str], rounded: Mapping[str, TensorRef] | None = None
) -> Stream:
    """Let `model` compute from `weights`, `rounded` as `Stream` says."""
    stream = Stream(weights.tensors, weights.read, tied, rounded)
    stream.attach(model)
    return stream


def _with_adapter(model: nn.Module, adapter_dir: Path) -> nn.Module:
    """Base + adapter, as PEFT computes it. The base may lack weights."""
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import load_file

    try:
        settings = LoraConfig.from_pretrained(str(adapter_dir))
        adapted: nn.Module = get_peft_model(model, settings, low_cpu_mem_usage=True)
    except (ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
        first = str(error).split("\n", 1)[0]
        raise InvalidInput(
            f"verifying the merge: PEFT cannot use {adapter_dir / 'adapter_config.json'}: {first}; mend the file"
        ) from None
    held = load_file(adapter_dir / "adapter_model.safetensors")
    held = {name.replace(".modules_to_save.", "."): t for name, t in held.items() if ".original_module." not in name}
    places = {_saved_name(name): name for name in adapted.state_dict() if ".original_module." not in name}
    lost = sorted(set(held) - set(places))
    if lost:
        raise StageFailed(f"verifying the merge: PEFT has no place for {', '.join(lost[:5])}")
    # Not by PEFT's own loader, which moves the adapter to where the base's weights are: nowhere, maybe.
    adapted.load_state_dict({places[name]: t.float() for name, t in held.items()}, strict=False, assign=True)
    return adapted


def _resized(config: Mapping[str, Any], vocabulary: int) -> dict[str, Any]:
    resized = copy.deepcopy(dict(config))
    for part in (resized, resized.get("text_config")):
        if isinstance(part, dict) and "vocab_size" in part:
            part["vocab_size"] = vocabulary
    return resized


def _saved_name(name: str) -> str:
    """Return a parameter's name in an adapter's file, from its name in PEFT's model."""
    name = name.replace(".modules_to_save.default.", ".").replace(".default", "")
    return name.removesuffix(".weight") if name.endswith("lora_magnitude_vector.weight") else name


def _empty_model(config: Mapping[str, Any]) -> "PreTrainedModel":
    """Return the architecture, without memory for its weights."""
    from accelerate import init_empty_weights  # type: ignore[import-untyped]
    from transformers import AutoConfig, AutoModelForCausalLM

    with TemporaryDirectory() as folder:
        plain = {key: value for key, value in config.items() if key not in ("dtype", "torch_dtype", "auto_map")}
        Path(folder, "config.json").write_text(json.dumps(plain), encoding="utf-8")
        try:
            with init_empty_weights(include_buffers=False):
                made = AutoConfig.from_pretrained(folder, **WITHOUT_CODE)
                model: PreTrainedModel = AutoModelForCausalLM.from_config(made, **WITHOUT_CODE)
        except Exception as error:  # noqa: BLE001 - a configuration can be wrong in any way
            first = str(error).split("\n", 1)[0]
            raise InvalidInput(
                f"verifying the merge: transformers cannot build the model: {first}; merge without verification to "
                "publish it all the same"
            ) from None
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings of PEFT and transformers about things that the merge handles."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
