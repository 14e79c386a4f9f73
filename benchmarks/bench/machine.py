"""What was measured on: processor, memory, versions. No names of machines or folders."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import braggscale
from braggscale.numerics.partitions import available_processors

PEER = "dials.scale"


def facts() -> dict[str, object]:
    """Facts for the head of a results file."""
    packages = ("numpy", "scipy", "numba", "llvmlite", "gemmi", "h5py")
    return {
        "processor": processor(),
        "processors": available_processors(),
        "memory_GB": round(memory() / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "braggscale": braggscale.__version__,
        **{name: found for name in packages if (found := _version(name))},
        PEER: peer_version(),
    }


def processor() -> str:
    """Model, and size of its last cache."""
    text = _first_line("/proc/cpuinfo", "model name") or platform.processor() or platform.machine()
    cache = Path("/sys/devices/system/cpu/cpu0/cache/index3/size")
    return f"{text}, L3 {cache.read_text().strip()}" if cache.is_file() else text


def memory() -> int:
    """Bytes of the machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def load() -> float:
    """Processes that were running or waiting in the last minute: what else the machine does."""
    return os.getloadavg()[0]


def peer() -> str | None:
    """The path of dials.scale."""
    return shutil.which(PEER)


def peer_version() -> str | None:
    """Version of the DIALS on the PATH, None without one."""
    path = shutil.which("dials.version")
    if path is None or peer() is None:
        return None
    done = subprocess.run([path], capture_output=True, text=True, check=False, timeout=120)
    words = done.stdout.split()
    return words[words.index("DIALS") + 1] if "DIALS" in words else "unknown"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _first_line(path: str, key: str) -> str | None:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), None)
