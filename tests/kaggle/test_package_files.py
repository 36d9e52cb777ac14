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
    for name in (*CONFIGS, "my-own", ".ipynb_checkpoints/quick-checkpoint"):
        (tmp_path / "configs" / f"{name}.yaml").write_text(name)
    (package / "configs").symlink_to("../configs")
    monkeypatch.setattr(kaggle_digits, "__file__", str(package / "__init__.py"))
    assert list(package_files()) == [
        ("kaggle_digits/__init__.py", b"__init__.py"),
        ("kaggle_digits/configs/best.yaml", b"best"),
        ("kaggle_digits/configs/detuned.yaml", b"detuned"),
        ("kaggle_digits/configs/quick.yaml", b"quick"),
        ("kaggle_digits/configs/standard.yaml", b"standard"),
        ("kaggle_digits/room/one.py", b"room/one.py"),
    ]


def test_every_config_of_the_repository_is_shipped():
    repository = Path(kaggle_digits.__file__).parents[1]
    if not (repository / ".git").exists():
        pytest.skip("not in a checkout")
    command = ["git", "ls-files", "configs/*.yaml"]
    listed = subprocess.check_output(command, cwd=repository, text=True).split()
    assert sorted(Path(name).stem for name in listed) == list(CONFIGS)
