import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import psutil
import pytest

import kaggle_digits
from kaggle_digits.system import environment


def test_package_versions_are_those_that_run():
    versions = environment.package_versions()
    assert versions["python"] == platform.python_version()
    assert versions["numpy"] == np.__version__


def test_packages_that_are_not_installed_are_left_out(monkeypatch):
    def version(name):
        if name == "keras":
            return "3.14.0"
        raise PackageNotFoundError(name)

    monkeypatch.setattr(environment, "version", version)
    found = environment.package_versions.__wrapped__()  # the answer itself is kept
    assert found == {"python": platform.python_version(), "keras": "3.14.0"}


@pytest.fixture
def git(tmp_path):
    """Return a function that calls git in a new repository."""
    if not shutil.which("git"):
        pytest.skip("needs git")
    settings = ("user.name=a", "user.email=a@b", "commit.gpgsign=false", "core.hooksPath=none")
    options = [word for setting in settings for word in ("-c", setting)]

    def call(*words):
        command = ["git", *options, *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    call("init")
    return call


def test_the_command_is_beside_python_or_on_the_path(tmp_path, monkeypatch):
    monkeypatch.setattr(environment.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert not environment.has_command()
    (tmp_path / "kaggle-digits").touch()
    assert environment.has_command()
    (tmp_path / "kaggle-digits").unlink()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "kaggle-digits").touch(0o755)
    assert environment.has_command()


def test_git_revision_is_that_of_the_repository_with_the_source(git, tmp_path):
    source = tmp_path / "package" / "module.py"
    source.parent.mkdir()
    source.write_text("a = 1")
    assert environment._revision_of(source) == ""  # may be installed into somebody's own work
    git("add", ".")
    git("commit", "-m", "first")
    assert environment._revision_of(source) == git("rev-parse", "--short", "HEAD")
    source.write_text("a = 2")
    assert environment._revision_of(source) == git("rev-parse", "--short", "HEAD") + "-dirty"
    git("tag", "-a", "v1", "-m", "one")
    git("checkout", ".")
    assert environment._revision_of(source) == "v1"


def test_git_revision_is_that_of_this_package():
    assert environment.git_revision() == environment._revision_of(Path(kaggle_digits.__file__))


def test_no_git_revision_outside_of_a_repository_or_without_git(git, tmp_path, monkeypatch):
    source = tmp_path / "module.py"
    source.write_text("a = 1")
    git("add", ".")
    git("commit", "-m", "first")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment._revision_of(source) == ""
    monkeypatch.undo()
    assert environment._revision_of(source) != ""
    shutil.rmtree(tmp_path / ".git")
    assert environment._revision_of(source) == ""


def test_a_git_that_hangs_is_not_waited_for(tmp_path, monkeypatch):
    program = tmp_path / "git"
    program.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(1000)\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(environment, "GIT_SECONDS", 0.01)
    assert environment._revision_of(Path(__file__)) == ""


def test_processor_comes_from_cpuinfo(monkeypatch):
    cpuinfo = "processor\t: 0\nmodel name\t: Some CPU @ 2.50GHz: fast\nprocessor\t: 1\n"
    monkeypatch.setattr(environment.Path, "read_text", lambda path: cpuinfo)
    assert environment.processor() == "Some CPU @ 2.50GHz: fast"


def test_what_the_processor_can_do_comes_from_cpuinfo(monkeypatch):
    cpuinfo = "processor\t: 0\nflags\t\t: fpu avx512_bf16\nbugs\t: x\nflags\t\t: other\n"
    monkeypatch.setattr(environment.Path, "read_text", lambda path: cpuinfo)
    assert environment.processor_flags() == {"fpu", "avx512_bf16"}


def test_processor_without_cpuinfo(monkeypatch):
    def missing(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(environment.Path, "read_text", missing)
    monkeypatch.setattr(environment.platform, "processor", lambda: "")
    monkeypatch.setattr(environment.platform, "machine", lambda: "riscv64")
    assert environment.processor() == "riscv64"
    assert environment.processor_flags() == frozenset()


def test_hardware():
    hardware = environment.hardware()
    assert hardware["cores"] == os.cpu_count()
    assert hardware["memory_bytes"] == psutil.virtual_memory().total
    assert hardware["processor"] == environment.processor()
    assert hardware["system"] == platform.platform()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_usable_cores_are_no_more_than_this_process_may_use():
    look = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from kaggle_digits.system import environment; print(environment.usable_cores())"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
    assert 1 <= environment.usable_cores() <= os.cpu_count()


def test_peak_memory_is_in_bytes_and_stays_after_the_peak():
    before = psutil.Process().memory_info().rss
    held = np.ones(64 * 2**20, np.uint8)
    peak = environment.peak_memory_bytes()
    # A thousandth or a thousandfold of it, another unit, would be outside.
    assert before < peak < 50 * (before + held.nbytes)
    held_bytes = held.nbytes
    del held
    # The system adds small pieces up in batches.
    assert environment.peak_memory_bytes() > peak - held_bytes / 64


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system counts otherwise")
def test_peak_memory_is_not_that_of_the_parent():
    held = np.ones(512 * 2**20, np.uint8)
    code = "from kaggle_digits.system import environment as e; print(e.peak_memory_bytes())"
    # fork, as a shell does it: what the parent holds counts as the child's until it executes.
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, preexec_fn=lambda: None
    )
    assert int(done.stdout) < 256 * 2**20 < held.nbytes


def page_faults(call):
    """Count those of a process that allocates, fills and frees 40 MB twenty times."""
    code = f"""
import ctypes, resource
from kaggle_digits.system import environment
{call}
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    block = libc.malloc(40 * 2**20)
    libc.memset(block, 1, 40 * 2**20)
    libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no mallopt")
def test_freed_memory_is_kept():
    # The system hands each page out once, or each time anew.
    assert page_faults("environment.keep_freed_memory()") * 10 < page_faults("")
