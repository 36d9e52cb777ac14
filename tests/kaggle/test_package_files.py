"""What takes the package along takes its own files only; that it takes all: test_kernel_code.py."""

import subprocess
from pathlib import Path

import pytest

import kaggle_digits
from kaggle_digits.kaggle.package_files import CONFIGS, package_files


def test_what_else_is_stored_there_stays(tmp_path, monkeypatch):
    package = tmp_path / "kaggle_digits"
    for folder in ("room/.ipynb_checkpoints", "__pycache__"):
        (package / folder).mkdir(parents=True)
    for name in ("__init__.py", "a.yaml", "kaggle.json", ".env", ".hidden.py", "room/one.py"):
        (package / name).write_text(name)
    (package / "room" / ".ipynb_checkpoints" / "one-checkpoint.py").write_text("mine")
    (package / "room" / "one.pyc").write_bytes(b"")
    (tmp_path / "configs" / ".ipynb_checkpoints").mkdir(parents=True)
    (tmp_path / "configs" / "peers").mkdir()
    for name in (*CONFIGS, "my-own", "peers/mine", ".ipynb_checkpoints/quick-checkpoint"):
        (tmp_path / "configs" / f"{name}.yaml").write_text(name)
    (package / "configs").symlink_to("../configs")
    monkeypatch.setattr(kaggle_digits, "__file__", str(package / "__init__.py"))
    assert list(package_files()) == [
        ("kaggle_digits/__init__.py", b"__init__.py"),
        *((f"kaggle_digits/configs/{name}.yaml", name.encode()) for name in CONFIGS),
        ("kaggle_digits/room/one.py", b"room/one.py"),
    ]


def test_every_config_of_the_repository_is_shipped():
    repository = Path(kaggle_digits.__file__).parents[1]
    if not (repository / ".git").exists():
        pytest.skip("not in a checkout")
    command = ["git", "ls-files", "configs/*.yaml"]
    listed = subprocess.check_output(command, cwd=repository, text=True).split()
    names = [Path(name).relative_to("configs").with_suffix("").as_posix() for name in listed]
    assert sorted(names) == list(CONFIGS)
