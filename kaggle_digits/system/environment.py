"""What this machine is and has installed; for the manifest, the benchmark and error reports."""

from __future__ import annotations

import os
import platform
import resource
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "kaggle-digits",
    "tensorflow",
    "jax",
    "torch",
    "keras",
    "numpy",
    "scikit-learn",
    "albumentations",
    "opencv-python-headless",
)


@cache  # no process changes them, and each look costs milliseconds
def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that results depend on."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def processor() -> str:
    """Return the processor's name for people."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@cache
def hardware() -> dict[str, object]:
    """Return processor, cores, memory in bytes and system."""
    import psutil

    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "system": platform.platform(),
    }


def peak_memory_bytes() -> int:
    """Return the most memory that this process has held at a time, without its children."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
