"""vLLM's plugin for processors with AMX: asks the kernel for it.

vLLM's attention on CPUs takes AMX's instructions where the processor has them, though Linux grants them to none but
processes that ask (https://docs.kernel.org/arch/x86/xstate.html). oneDNN asks before its first large product of
matrices; in a small model attention comes first, and SIGILL ends the engine. vLLM calls plugins in each process.
"""

import ctypes
import platform

_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA = 158, 0x1023, 18


def request_amx() -> None:
    """Ask for AMX, which a kernel or processor without it refuses."""
    if (platform.system(), platform.machine()) == ("Linux", "x86_64"):
        ctypes.CDLL(None).syscall(_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA)
