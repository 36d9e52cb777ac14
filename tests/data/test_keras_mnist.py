"""Where Keras keeps MNIST, and what is said where it is not and cannot be downloaded."""

import subprocess
import sys
from pathlib import Path

import pytest

from kaggle_digits.data import keras_mnist
from kaggle_digits.errors import UserError


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Keras' file, which is not there, and the folder for it, which is."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "datasets").mkdir()
    return tmp_path / "datasets" / "mnist.npz"


@pytest.fixture
def download(monkeypatch):
    """A function that sets what the download does, in Python."""
    return lambda code: monkeypatch.setattr(keras_mnist, "DOWNLOAD", code)


def test_the_cached_file_needs_no_download(file, download):
    download("raise SystemExit('not asked for')")
    file.write_bytes(b"digits")
    assert keras_mnist.find() == file


def test_what_is_missing_is_downloaded(file, download):
    download(f"open({str(file)!r}, 'w')")
    assert keras_mnist.find() == file


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("print('0 %'); raise OSError('no network')", "OSError: no network"),
        ("", "no reason given"),
        ("import time; time.sleep(9)", "no end after 0.2 s"),
    ],
)
def test_a_download_that_fails_is_one_line(file, download, monkeypatch, code, reason):
    download(code)
    monkeypatch.setattr(keras_mnist, "DOWNLOAD_SECONDS", 0.2 if "sleep" in code else 60)
    with pytest.raises(UserError) as caught:
        keras_mnist.find()
    assert str(caught.value) == (
        f"--data mnist: expected Keras' file {file}, found none, and the download failed "
        f"({reason}); put the file there, or give another --data"
    )


def test_without_keras_home_it_is_in_the_users_folder(monkeypatch):
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/ada")
    assert keras_mnist.cached_file() == Path("/home/ada/.keras/datasets/mnist.npz")


def test_keras_has_what_the_download_asks_for():
    code = "import keras; keras.datasets.mnist.load_data"
    assert code in keras_mnist.DOWNLOAD
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
