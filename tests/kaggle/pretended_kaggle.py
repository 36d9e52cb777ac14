"""A pretended Kaggle: a built kernel runs in a fresh process and folder, as a session would."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import lives
import nbformat
import psutil
from stand_in import USERNAME

from kaggle_digits.kaggle import in_kernel
from kaggle_digits.storage import files

KERNEL = f"{USERNAME}/kaggle-digits-quick"
MOUNTS = ("competitions/digit-recognizer", "digit-recognizer")
# What each Python process in a session begins with: the checkout is not on its path, the packages
# that a TPU's image does not have cannot be imported, and nothing beyond this machine answers.
SITE = """
import importlib.util, socket, sys

sys.path[:] = [path for path in sys.path if path not in {checkouts}]
sys.meta_path[:] = [each for each in sys.meta_path if "editable" not in repr(each)]
found = importlib.util.find_spec("kaggle_digits")
assert found is None or {home!r} in found.origin
sys.modules["keras_tuner"] = sys.modules["kaggle"] = None

def refused(self, address, *_):
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "localhost"):
        print("NETWORK", address, file=sys.stderr, flush=True)
        raise OSError(f"no network: {{address}}")
    return connect(self, address)

connect, socket.socket.connect = socket.socket.connect, refused
"""
EXECUTE = """
import sys, nbclient, nbformat

notebook = nbformat.read(sys.argv[1], 4)
nbclient.NotebookClient(notebook, kernel_name="python3").execute()
nbformat.write(notebook, sys.argv[1])
"""


class Session:
    """A session on the pretended Kaggle.

    Args:
        home: a new folder.
        mount: where below `input` the competition's files are.
        earlier: the output of an earlier session, to be among the inputs; None: there is none.
        mounted_at: where below `input` that is.
    """

    def __init__(
        self,
        home: Path,
        mount: str,
        earlier: Path | None = None,
        mounted_at: str = "notebooks/me/kaggle-digits-quick",
    ) -> None:
        self.home, self.root = home, home / "root"
        self.working, self.run = self.root / "working", self.root / "working" / in_kernel.RUN
        place = self.root / "input" / mount
        place.parent.mkdir(parents=True)
        lives.write_data(place)
        self.working.mkdir()
        if earlier:
            copy = shutil.copytree(earlier, self.root / "input" / mounted_at)
            for path in (copy, *copy.rglob("*")):
                path.chmod(0o555 if path.is_dir() else 0o444)  # as Kaggle's inputs are
        site = home / "site"
        site.mkdir()
        checkouts = {path for path in sys.path if Path(path, "kaggle_digits").is_dir()}
        (site / "sitecustomize.py").write_text(
            SITE.format(checkouts=checkouts | {""}, home=str(home))
        )
        kept = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        self.environment = kept | {
            in_kernel.ROOT: str(self.root),
            "HOME": str(home),
            "TMPDIR": str(home),
            "PYTHONPATH": str(site),
            "KAGGLE_KERNEL_RUN_TYPE": "Batch",
        }

    def begin(self, code: Path) -> subprocess.Popen:
        """Start a script or a notebook as Kaggle does; what it prints goes to `log`."""
        copy = shutil.copy(code, self.home)
        command = ["-c", EXECUTE, copy] if code.suffix == ".ipynb" else [copy]
        with self.log.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, *command],
                cwd=self.working,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def log(self) -> Path:
        """Where what a session prints goes."""
        return self.home / "log.txt"

    @property
    def said(self) -> str:
        """All that it has printed so far, and of a notebook that has ended its outputs."""
        return self.log.read_text() + "".join(
            output.get("text", "") for cell in self.cells for output in cell.get("outputs", ())
        )

    @property
    def cells(self) -> list:
        """The cells of the notebook that has come to its end; of a script there are none."""
        return [cell for path in self.home.glob("*.ipynb") for cell in nbformat.read(path, 4).cells]

    def finish(self, code: Path) -> None:
        """Let a script or a notebook come to its end, which must be a good one."""
        process = self.begin(code)
        assert process.wait(lives.PATIENCE) == 0, self.said
        assert "NETWORK" not in self.said

    def kill_after(self, text: str, code: Path) -> None:
        """Kill a script or a notebook, with all its processes, once its run has logged a text."""
        process = self.begin(code)
        deadline = time.monotonic() + lives.PATIENCE
        while not (self.run_log.exists() and text in self.run_log.read_text()):
            assert process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(lives.POLL_SECONDS)
        family = psutil.Process(process.pid)  # a notebook's kernel has a group of its own
        for member in (family, *family.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                member.kill()
        process.wait()

    @property
    def run_log(self) -> Path:
        """The log in the run's folder."""
        return self.run / "run.log"

    def result(self) -> tuple[bytes, files.Arrays]:
        """Return what must not depend on how a run came about."""
        assert (self.working / "submission.csv").read_bytes() == (
            self.run / "submission.csv"
        ).read_bytes()
        return lives.Job(self.home, self.home, out=self.run).result()


def put_out(stand_in, run):
    """Have a run's folder be the output of the kernel; return its content by path."""
    paths = [path for path in run.rglob("*") if path.is_file()]
    content = {path.relative_to(run).as_posix(): path.read_bytes() for path in paths}
    output = {f"{in_kernel.RUN}/{name}": data for name, data in content.items()}
    stand_in.outputs[KERNEL] = output | {"submission.csv": b"1", "__results__.html": b"2"}
    stand_in.page_size = 7
    return content


def content_of(folder):
    """Return the content of each file in a folder, by its path within it."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }
