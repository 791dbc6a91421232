"""Tensors in memory, whole or a few rows of them, got through a `Reader`."""

import torch

from callwright.merger.checkpoint import SIZES, TensorRef
from callwright.merger.reading import Reader

TORCH = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
"""Torch's dtype of each safetensors dtype."""


def load(reader: Reader, tensor: TensorRef) -> torch.Tensor:
    """A whole tensor in memory."""
    return rows(reader, tensor, 0, tensor.shape[0] if tensor.shape else 1).view(tensor.shape)


def rows(reader: Reader, tensor: TensorRef, first: int, end: int) -> torch.Tensor:
    """Rows `first` to `end` of a tensor, that is, along its first dimension."""
    width = tensor.nbytes // max(1, tensor.shape[0] if tensor.shape else 1)
    buffer = torch.empty((end - first) * width, dtype=torch.uint8)
    reader.read_into(buffer.numpy().data, tensor.file, tensor.start + first * width)
    return buffer.view(TORCH[tensor.dtype]).view(end - first, width // SIZES[tensor.dtype])
