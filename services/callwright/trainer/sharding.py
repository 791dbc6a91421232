"""The base's layers shared out over the workers (FSDP2): each holds a share of every layer and gathers one at a time.

Adapter, embeddings and head stay whole on every worker, so that optimizer, checkpoints and the sum of gradients are the
same as without sharding. Every forward pass gathers layers from all workers, so all must take equally many passes: the
spec ensures it in training, the learner in evaluation.
"""

from typing import Any

import torch
from torch import nn


def layers(model: nn.Module) -> list[nn.Module]:
    """Return the model's repeated layers, as transformers names them; empty for a model without."""
    names = set(getattr(model, "_no_split_modules", None) or ())
    return [module for module in model.modules() if type(module).__name__ in names]


def shard(base: Any, device: torch.device, workers: int) -> None:
    """Keep this worker's share of every layer's frozen weights, and move what is left to `device`.

    base: transformers' model with its adapter in it, on the CPU, the same on every worker of the default process group.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (workers,))
    split = layers(base)
    for layer in split:
        trained = {p for p in layer.parameters() if p.requires_grad}
        fully_shard(layer, mesh=mesh, reshard_after_forward=True, ignored_params=trained)
    inner = {id(p) for layer in split for p in layer.parameters() if not p.requires_grad}
    # Without weights of its own, for the order in which layers are gathered.
    fully_shard(base.base_model, mesh=mesh, ignored_params={p for p in base.parameters() if id(p) not in inner})
    for parameter in base.parameters():
        if id(parameter) not in inner:
            parameter.data = parameter.data.to(device)
    for module in base.modules():
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, buffer.to(device))
