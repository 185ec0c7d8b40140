"""The machine that the figures are measured on."""

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("tensorflow", "keras", "numpy", "h5py", "scikit-learn", "pillow")
BF16_FLAGS = {"amx_bf16": "AMX", "avx512_bf16": "AVX-512"}


def has_matrix_units() -> bool:
    """Return whether the processor has matrix units (AMX), with which floats are as fast as integers."""
    return "amx_bf16" in _cpu_flags(_read_text("/proc/cpuinfo"))


def has_integer_dot_products() -> bool:
    """Return whether the processor multiplies vectors of 8-bit integers in one instruction (VNNI)."""
    return bool({"avx512_vnni", "avx_vnni"} & _cpu_flags(_read_text("/proc/cpuinfo")))


def describe_machine() -> dict[str, Any]:
    """Return processor, cores, bfloat16 units, memory, load, operating system and versions."""
    cpu = _read_text("/proc/cpuinfo")
    names = re.findall(r"^model name\s*:\s*(.+)$", cpu, re.MULTILINE)
    flags = _cpu_flags(cpu)
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "bf16": " and ".join(name for flag, name in BF16_FLAGS.items() if flag in flags)
        or ("no" if flags else "unknown"),
        "int8": "VNNI" if has_integer_dot_products() else "no VNNI" if flags else "unknown",
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_at_start": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def summarize_machine(machine: dict[str, Any]) -> str:
    """Describe the machine in one line."""
    versions = ", ".join(f"{name} {machine[name]}" for name in ("python", *PACKAGES))
    return (
        f"{machine['processor']}, {machine['cores']} cores, bf16: {machine['bf16']}, int8: {machine['int8']}, "
        f"{machine['memory_gib']} GiB, "
        f"load {machine['load_at_start']} before the start; {versions}"
    )


def _cpu_flags(cpu: str) -> set[str]:
    return set(re.findall(r"\w+", "".join(re.findall(r"^flags\s*:(.+)$", cpu, re.MULTILINE)[:1])))


def _read_text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
