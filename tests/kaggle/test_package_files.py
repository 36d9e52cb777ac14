"""What takes the package along takes its own files only; that it takes all: test_kernel_code.py."""

import kaggle_digits
from kaggle_digits.kaggle.package_files import package_files


def test_what_else_is_stored_there_stays(tmp_path, monkeypatch):
    package = tmp_path / "kaggle_digits"
    (package / "room").mkdir(parents=True)
    for name in ("__init__.py", "a.yaml", "kaggle.json", ".env", ".hidden.py", "room/one.py"):
        (package / name).write_text(name)
    (package / "room" / "one.pyc").write_bytes(b"")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "quick.yaml").write_text("quick")
    (package / "configs").symlink_to("../configs")
    monkeypatch.setattr(kaggle_digits, "__file__", str(package / "__init__.py"))
    assert list(package_files()) == [
        ("kaggle_digits/__init__.py", b"__init__.py"),
        ("kaggle_digits/a.yaml", b"a.yaml"),
        ("kaggle_digits/configs/quick.yaml", b"quick"),
        ("kaggle_digits/room/one.py", b"room/one.py"),
    ]
