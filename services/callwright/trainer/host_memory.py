"""What a worker on the CPU keeps beside its tensors, and how that is bounded.

oneDNN compiles kernels for every shape of a bfloat16 product and keeps the last thousand of them, twice. Sequences
of many lengths bring new shapes with every step, so that hundreds of megabytes gather; and since kernels lie between
the tensors of the heap, what the tensors leave can be used again in part only, and grows further.
"""

import ctypes
import os

import torch

_KERNELS = 256
"""Kernels that oneDNN keeps: more than one micro-batch needs, so that none is compiled twice for it."""
_KERNEL_BYTES = 280_000
"""Bytes of a kernel, about."""
_PROCESS_BYTES = 540_000_000
"""Python, torch, transformers and Ray in a worker before its base is loaded, about."""
HEAP_PER_BYTE = 1.25
"""Bytes that the heap grows by for each byte of tensors: what is freed between them fits the next ones in part."""


def process_bytes(dtype: torch.dtype) -> int:
    """Return what a worker that computes in `dtype` takes without base, adapter and activations, about."""
    return _PROCESS_BYTES + (_KERNELS * _KERNEL_BYTES if dtype == torch.bfloat16 else 0)


def keep_few_kernels() -> None:
    """Let oneDNN keep the kernels of about a micro-batch; in force where it has not multiplied in this process yet.

    What the environment says already is left as it is.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(_KERNELS))
    os.environ.setdefault("LRU_CACHE_CAPACITY", "1")  # torch's own cache of the same kernels, before oneDNN's


def release_free() -> None:
    """Give the heap's free pages back to the system, where the C library can (glibc's)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
