"""The base with its LoRA adapter on one device.

Owns how a base is loaded and which of its modules are adapted. Knows nothing of data, steps or Ray.
"""

from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from callsmith.errors import InvalidInput
from callsmith.spec.model import Base, Lora, Train


def resolve_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The dtype to compute in: `auto` is bfloat16 on a GPU that has it, else float32."""
    match dtype:
        case "auto":
            native = device.type == "cuda" and torch.cuda.is_bf16_supported()
            return torch.bfloat16 if native else torch.float32
        case "bfloat16":
            return torch.bfloat16
        case _:
            return torch.float32


def load_model(base_dir: Path, base: Base, lora: Lora, train: Train, device: torch.device) -> PeftModel:
    """Load the base on `device` and put a fresh adapter on it, the same on every worker by `train.seed`.

    Raises `InvalidInput` for targets that the base does not have.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(
        base_dir, dtype=resolve_dtype(train.dtype, device), attn_implementation="sdpa", local_files_only=True
    ).to(device)
    model.config.use_cache = False
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.targets if isinstance(lora.targets, str) else list(lora.targets),
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(train.seed)
    try:
        adapted = get_peft_model(model, config)
    except ValueError as error:
        raise InvalidInput(f"adapting {base.model}: lora.targets {lora.targets!r}: {error}") from None
    adapted.peft_config["default"].base_model_name_or_path = base.model
    adapted.peft_config["default"].revision = base.revision
    if train.gradient_checkpointing:
        adapted.enable_input_require_grads()
        adapted.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return adapted


def hidden_states(model: PeftModel, input_ids: Tensor) -> Tensor:
    """Last hidden states (rows, tokens, width) of right-padded `input_ids`.

    No mask is needed: under causal attention no token sees the padding after it.
    """
    inner = model.get_base_model()
    output: Tensor = inner.model(input_ids=input_ids, use_cache=False).last_hidden_state
    return output


def adapter_state(model: PeftModel) -> dict[str, Tensor]:
    """The adapter's own weights, by PEFT's names."""
    state: dict[str, Tensor] = get_peft_model_state_dict(model)
    return state


def load_adapter_state(model: PeftModel, state: dict[str, Tensor]) -> None:
    """Put weights saved by `adapter_state` back."""
    set_peft_model_state_dict(model, state)
