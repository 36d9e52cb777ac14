"""What this machine is and has installed; for the manifest, the benchmark and error reports."""

from __future__ import annotations

import os
import platform
import resource
import sys
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from kaggle_digits.system.console import count_of

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


def description() -> dict[str, str]:
    """Return processor, memory, system and package versions as people read them."""
    found = hardware()
    versions = package_versions().items()
    return {
        "processor": f"{found['processor']}, {count_of(found['cores'], 'core')}",
        "memory": f"{found['memory_bytes'] / 2**30:.1f} GiB",
        "system": str(found["system"]),
        "versions": ", ".join(f"{package} {version}" for package, version in versions),
    }


def usable_cores() -> int:
    """Return the cores that this process may use: a container or an affinity may leave it fewer."""
    import joblib

    return joblib.cpu_count()


def peak_memory_bytes() -> int:
    """Return the most memory that this process has held at a time, without its children."""
    # Linux's getrusage begins with what the parent held when it started this process: a notebook's
    # kernel, for one. This file does not.
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
