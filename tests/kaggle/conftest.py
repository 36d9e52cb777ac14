"""The stand-in for Kaggle, and processes whose client talks to it."""

import subprocess
import sys

import pytest
from stand_in import KEY, TOKEN, StandIn, serving

CREDENTIALS = ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_CONFIG_DIR")


@pytest.fixture
def stand_in():
    """Run a stand-in whose competition has no labels yet."""
    with serving(StandIn()) as state:
        yield state


@pytest.fixture
def kaggle_env(stand_in, tmp_path, process_env):
    """Return the environment of a process that is signed in to the stand-in."""
    own = {name: value for name, value in process_env.items() if name not in CREDENTIALS}
    return own | stand_in.variables(tmp_path / "home")


@pytest.fixture
def begin(tmp_path, kaggle_env):
    """Begin a command in an empty folder; the function takes its words and further variables."""
    (tmp_path / "home").mkdir()
    processes = []

    def begin(*words, **variables):
        process = subprocess.Popen(
            [sys.executable, "-m", "kaggle_digits", *map(str, words)],
            env=kaggle_env | variables,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield begin
    for process in processes:
        process.kill()
        process.communicate()
    for path in tmp_path.rglob("*"):
        if path.is_file() and tmp_path / "home" not in path.parents:
            _check_no_secrets(path.read_bytes(), path)


@pytest.fixture
def command(begin):
    """Run a command to its end; the function returns (status, output, error)."""

    def command(*words, **variables):
        process = begin(*words, **variables)
        output, error = process.communicate(timeout=300)
        _check_no_secrets((output + error).encode(), words)
        return process.returncode, output, error

    return command


@pytest.fixture
def file(tmp_path):
    """Return a submission of three rows, of which the stand-in takes two for right."""
    path = tmp_path / "submission.csv"
    path.write_text("ImageId,Label\n1,1\n2,2\n3,4\n")
    return path


@pytest.fixture
def client(stand_in, tmp_path, monkeypatch):
    """Return a signed-in client in this process, with next to no pauses."""
    from kaggle_digits.kaggle import client, retries

    for name in CREDENTIALS:
        monkeypatch.delenv(name, raising=False)
    for name, value in stand_in.variables(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(retries, "BACKOFF_SECONDS", 0.001)
    _forget_client()
    yield client.connect()
    _forget_client()


def _check_no_secrets(content, where):
    """Planted credentials are never printed, logged or stored; signed links are credentials too."""
    for secret in (TOKEN, KEY, "planted-signature"):
        assert secret.encode() not in content, where


def _forget_client():
    """Have the client read its environment again, which it does while it is imported."""
    for name in list(sys.modules):
        if name.partition(".")[0] in ("kaggle", "kagglesdk"):
            del sys.modules[name]
