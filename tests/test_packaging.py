"""The package as people install it: from a wheel, an sdist, with --target."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHOW = (
    "from kaggle_digits.config import loading; from kaggle_digits.report import search_page; "
    "names = *loading.shipped_names(), *loading.peer_names(); "
    "print(loading.__file__, *names, loading.load('standard').seed)"
)


def pip(*words):
    command = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build an sdist and, from it, a wheel; return both."""
    folder = tmp_path_factory.mktemp("built")
    build = (
        "from setuptools import build_meta; import sys; print(build_meta.build_sdist(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", build, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    sdist = folder / done.stdout.split()[-1]
    pip("wheel", "--no-deps", "--no-build-isolation", "-w", folder, sdist)
    [wheel] = folder.glob("*.whl")
    return sdist, wheel


def test_wheel_holds_every_module_template_and_config(built):
    names = set(zipfile.ZipFile(built[1]).namelist())
    package = ROOT / "kaggle_digits"
    expected = [
        *package.rglob("*.py"),
        *package.rglob("*.html"),
        *(package / "configs").rglob("*.yaml"),
        *(package / "kaggle" / "templates").rglob("*.*"),
        package / "kaggle" / "templates" / "archive" / "LICENSE",
    ]
    [licence] = [each for each in names if each.endswith("templates/archive/LICENSE")]
    assert zipfile.ZipFile(built[1]).read(licence) == (ROOT / "LICENSE").read_bytes()
    assert {path.relative_to(ROOT).as_posix() for path in expected} <= names


def test_installed_with_target_it_finds_its_configs(built, tmp_path, process_env):
    site = tmp_path / "site"
    pip("install", "--no-deps", "--target", site, built[1])
    done = subprocess.run(
        [sys.executable, "-c", SHOW],
        env=process_env | {"PYTHONPATH": str(site)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    copy = subprocess.run(
        [sys.executable, "-m", "kaggle_digits", "config", "copy", "standard", "my.yaml"],
        env=process_env | {"PYTHONPATH": str(site)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (copy.returncode, copy.stderr) == (0, "")
    assert (tmp_path / "my.yaml").read_bytes() == (ROOT / "configs" / "standard.yaml").read_bytes()
    place, *names, seed = done.stdout.split()
    assert Path(place).is_relative_to(site)
    assert {"quick", "standard", "best", "peers/deotte-15"} <= set(names)
    assert seed == "2026"
