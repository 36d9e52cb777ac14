"""What this machine is and has installed; for the manifest, the benchmark and error reports."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from kaggle_digits.system.console import count_of

COMMAND = "kaggle-digits"
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
# glibc's <malloc.h>: option -> value. Memory comes from one growing heap, in large pieces, and is
# never given back in between.
MALLOC_OPTIONS = {
    -1: 2**31 - 1,  # M_TRIM_THRESHOLD: as much as there may be free at the end of the heap
    -2: 64 * 2**20,  # M_TOP_PAD: what the heap grows by
    -4: 0,  # M_MMAP_MAX: no large piece comes from the system and goes back to it
    -8: 1,  # M_ARENA_MAX: threads share the heap, so that one uses what another has freed
}
GIT_SECONDS = 5  # that git may take; what it would say only informs


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


@cache  # a process runs what it has imported, whatever becomes of the files
def git_revision() -> str:
    """Return the revision of the repository that this package's source is in, as git describes it.

    It ends in -dirty if a file of the repository was changed since.

    Returns:
        The revision; "" where the package is installed or copied, or there is no git.
    """
    return _revision_of(Path(__file__))


def _revision_of(file: Path) -> str:
    """Return the revision of the repository that a file is in; "" where git does not track it."""
    git = ("git", "--no-optional-locks", "-C", str(file.parent))
    # An environment with this package may be within a repository of somebody's own work.
    tracked = (*git, "ls-files", "--error-unmatch", file.name)
    described = (*git, "describe", "--always", "--dirty")
    try:
        for command in (tracked, described):
            done = subprocess.run(
                command, capture_output=True, text=True, check=True, timeout=GIT_SECONDS
            )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def processor() -> str:
    """Return the processor's name for people."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def processor_flags() -> frozenset[str]:
    """Return what the processor can do, as Linux names it (`avx512_bf16`); elsewhere nothing."""
    return frozenset(_cpuinfo("flags").split())


def _cpuinfo(key: str) -> str:
    """Return what Linux says of the first core; "" where it says nothing, or there is no Linux."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(key):
                return line.partition(":")[2].strip()
    return ""


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
    return described(hardware(), package_versions())


def described(hardware: Mapping[str, Any], versions: Mapping[str, str]) -> dict[str, str]:
    """Return what a machine is as people read it.

    Args:
        hardware: what the function `hardware` returned there.
        versions: what `package_versions` returned there.
    """
    return {
        "processor": f"{hardware['processor']}, {count_of(hardware['cores'], 'core')}",
        "memory": f"{hardware['memory_bytes'] / 2**30:.1f} GiB",
        "system": str(hardware["system"]),
        "versions": ", ".join(f"{package} {version}" for package, version in versions.items()),
    }


def has_command() -> bool:
    """Return whether people can type `kaggle-digits` here; not on Kaggle, nor in an archive."""
    beside_python = Path(sys.executable).with_name(COMMAND)
    return beside_python.exists() or shutil.which(COMMAND) is not None


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


def keep_freed_memory() -> None:
    """Have this process keep the memory that it frees, for what it allocates next.

    Each training step allocates and frees hundreds of megabytes. glibc gives much of that back to
    the system at once, which then hands the pages out again one by one, filled with zeros. Where
    that is dear, as on some virtual machines, it takes nearly half of the processor time of a
    training. The most memory that is held at a time stays about what it is, but it falls no more,
    also where a notebook's process trains. Other C libraries than glibc are left as they are.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in MALLOC_OPTIONS.items():
            mallopt(option, value)
