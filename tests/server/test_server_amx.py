"""An engine may use AMX where the kernel grants it: without, vLLM's attention ends by SIGILL."""

import platform
import subprocess
import sys

import pytest

GRANTED = """
import ctypes
from importlib.metadata import entry_points

for plugin in entry_points(group="vllm.general_plugins"):
    plugin.load()()
supported, permitted = ctypes.c_uint64(), ctypes.c_uint64()
arch_prctl = ctypes.CDLL(None).syscall
arch_prctl(158, 0x1021, ctypes.byref(supported))  # ARCH_GET_XCOMP_SUPP
arch_prctl(158, 0x1022, ctypes.byref(permitted))  # ARCH_GET_XCOMP_PERM
print(supported.value >> 18 & 1, permitted.value >> 18 & 1)
"""


@pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"), reason="AMX is a matter of Linux on x86"
)
def test_an_engine_is_granted_amx_where_there_is_any() -> None:
    said = subprocess.run([sys.executable, "-c", GRANTED], capture_output=True, text=True, check=True).stdout
    supported, permitted = said.split()
    assert permitted == supported
