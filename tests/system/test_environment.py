import os
import platform
from importlib.metadata import PackageNotFoundError

import numpy as np
import psutil

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


def test_processor_comes_from_cpuinfo(monkeypatch):
    cpuinfo = "processor\t: 0\nmodel name\t: Some CPU @ 2.50GHz: fast\nprocessor\t: 1\n"
    monkeypatch.setattr(environment.Path, "read_text", lambda path: cpuinfo)
    assert environment.processor() == "Some CPU @ 2.50GHz: fast"


def test_processor_without_cpuinfo(monkeypatch):
    def missing(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(environment.Path, "read_text", missing)
    monkeypatch.setattr(environment.platform, "processor", lambda: "")
    monkeypatch.setattr(environment.platform, "machine", lambda: "riscv64")
    assert environment.processor() == "riscv64"


def test_hardware():
    hardware = environment.hardware()
    assert hardware["cores"] == os.cpu_count()
    assert hardware["memory_bytes"] == psutil.virtual_memory().total
    assert hardware["processor"] == environment.processor()
    assert hardware["system"] == platform.platform()


def test_peak_memory_is_in_bytes_and_stays_after_the_peak():
    before = psutil.Process().memory_info().rss
    held = np.ones(64 * 2**20, np.uint8)
    peak = environment.peak_memory_bytes()
    # A thousandth or a thousandfold of it, another unit, would be outside.
    assert before < peak < 50 * (before + held.nbytes)
    del held
    assert environment.peak_memory_bytes() >= peak
