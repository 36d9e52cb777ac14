"""Built kernels on a pretended Kaggle: from nothing, killed and continued, with unfit inputs."""

import contextlib
import shutil
from types import SimpleNamespace

import lives
import pytest
from pretended_kaggle import MOUNTS, Session

from kaggle_digits.config import loading
from kaggle_digits.data import submission_csv
from kaggle_digits.errors import UserError
from kaggle_digits.kaggle import in_kernel
from kaggle_digits.kaggle.kernel_code import KernelCode
from kaggle_digits.storage.run_folder import RunFolder

CONFIG = loading.load("quick", lives.SETTINGS)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build a script and a notebook."""
    folder = tmp_path_factory.mktemp("built")
    code = KernelCode("kaggle digits quick", "the command", CONFIG, "quick", "1h")
    script, notebook = folder / "kernel.py", folder / "kernel.ipynb"
    script.write_text(code.script())
    notebook.write_text(code.notebook())
    return {"script": script, "notebook": notebook}


@pytest.fixture(scope="module")
def first_session(tmp_path_factory, built):
    """Let the script come to its end, without anything beside the competition's files."""
    session = Session(tmp_path_factory.mktemp("undisturbed"), MOUNTS[0])
    session.finish(built["script"])
    return session


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("import socket; socket.create_connection(('192.0.2.1', 80), 1)", "OSError: no network"),
        ("import kaggle_digits", "No module named 'kaggle_digits'"),
    ],
)
def test_the_pretended_kaggle_has_neither_a_network_nor_this_package(tmp_path, code, complaint):
    (tmp_path / "code.py").write_text(code)
    session = Session(tmp_path / "session", MOUNTS[0])
    assert session.begin(tmp_path / "code.py").wait(lives.PATIENCE) == 1
    assert complaint in session.said


def test_a_script_leaves_a_submission_and_the_run(first_session):
    left = sorted(path.name for path in first_session.working.iterdir())
    assert left == ["run", "submission.csv"]
    assert len(submission_csv.check_file(first_session.working / "submission.csv", 30)) == 30
    assert "cnn fold 2 finished" in first_session.said
    assert "Traceback" not in first_session.said
    # The package, the cache and what was drawn are gone with the session.
    assert not list(first_session.home.glob("kaggle-digits-*"))


KILLED = {
    "script": ("cnn fold 2, epoch 2/", MOUNTS[0], "notebooks/ada/kaggle-digits-quick"),
    "notebook": ("cnn fold 1, epoch 3/", MOUNTS[1], "datasets/ada/earlier"),
}


@pytest.mark.parametrize("kind", KILLED)
def test_killed_and_continued_from_its_output_it_ends_with_the_same_bytes(
    tmp_path, first_session, built, kind
):
    moment, mount, place = KILLED[kind]
    first = Session(tmp_path / "first", mount)
    first.kill_after(moment, built[kind])
    assert list(first.run.glob("fits/*.state"))
    second = Session(tmp_path / "second", MOUNTS[1], first.working, place)
    second.finish(built[kind])
    assert f"continues the run in {second.root / 'input' / place / 'run'}" in second.said
    assert " resumes after epoch " in second.said
    # What the kill left half written in the first session's output is none of the second one's.
    job = lives.Job(second.root, second.working, out=second.run)
    lives.assert_same_result(job, first_session.result())
    assert second.result()[0] == first_session.result()[0]
    assert len(submission_csv.check_file(second.working / "submission.csv", 30)) == 30
    if kind == "notebook":
        pictures = [
            "image/png" in output.get("data", {})
            for cell in second.cells
            for output in cell.get("outputs", ())
        ]
        assert not second.cells[2].outputs  # of the package that is unpacked
        assert sum(pictures) == 4  # the data, what the nets were shown, curves, wrong rows
        assert "out-of-fold accuracy 0." in str(second.cells)


# Without a training


@pytest.fixture
def on_kaggle(tmp_path, monkeypatch):
    """Pretend that this process is a session; return its root, with nothing mounted."""
    for name in lives.OF_THIS_MACHINE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(in_kernel.ROOT, str(tmp_path / "kaggle"))
    monkeypatch.setenv("KAGGLE_DIGITS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for name in ("input", "working"):
        (tmp_path / "kaggle" / name).mkdir(parents=True)
    return tmp_path / "kaggle"


@pytest.fixture
def begin(on_kaggle, tmp_path):
    """Return a function that mounts the competition's files and begins a session."""

    def begin(config=CONFIG, mount=MOUNTS[0]):
        place = on_kaggle / "input" / mount
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            lives.write_data(place)
        (tmp_path / "c.yaml").write_text(loading.dump(config))
        return in_kernel.begin(tmp_path / "c.yaml")

    return begin


@pytest.mark.parametrize("mount", MOUNTS)
def test_the_competitions_files_are_found_at_either_mount(begin, on_kaggle, mount):
    session = begin(mount=mount)
    assert session.data == str(on_kaggle / "input" / mount)
    assert session.run_folder.folder == on_kaggle / "working" / "run"
    assert len(session.digits.train_images) == 60


def test_the_demo_data_never_takes_their_place(on_kaggle, tmp_path, capsys):
    (tmp_path / "c.yaml").write_text(loading.dump(CONFIG))
    with pytest.raises(UserError, match="add the competition digit-recognizer to the kernel's in"):
        in_kernel.begin(tmp_path / "c.yaml")
    assert in_kernel.run(tmp_path / "c.yaml", []) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"kaggle-digits: {on_kaggle / 'input'}: expected the competition's")
    assert not list((on_kaggle / "working").iterdir())


def test_a_fetched_run_is_continued_as_a_dataset(begin, on_kaggle, first_session, capsys):
    earlier = on_kaggle / "input" / "my-run"  # the folder's content is at the dataset's top
    shutil.copytree(first_session.run, earlier, ignore=shutil.ignore_patterns(".*"))
    session = begin()
    assert f"continues the run in {earlier}, 2 finished fits" in capsys.readouterr().out
    assert session.run_folder.finished_fits() == [("cnn", 0), ("cnn", 1)]
    assert session.run_folder.changed_artefacts() == []
    session.publish()
    published = on_kaggle / "working" / "submission.csv"
    assert published.read_bytes() == (earlier / "submission.csv").read_bytes()
    # What has begun here is not written over.
    (session.run_folder.folder / "mark").touch()
    begin()
    assert (session.run_folder.folder / "mark").exists()
    assert capsys.readouterr().out == ""


def test_the_furthest_of_several_is_continued(begin, on_kaggle, first_session, capsys):
    for name in ("a", "b", "c"):
        shutil.copytree(first_session.run, on_kaggle / "input" / name)
    for name in ("a", "c"):
        RunFolder(on_kaggle / "input" / name).remove_fit("cnn", 1)
    begin()
    assert f"continues the run in {on_kaggle / 'input' / 'b'}, 2 fin" in capsys.readouterr().out


@pytest.mark.parametrize("setting", ["seed=5", "train.epochs=11"])
def test_a_run_with_another_config_is_named_and_left_alone(
    begin, on_kaggle, first_session, capsys, setting
):
    shutil.copytree(first_session.run, on_kaggle / "input" / "old" / "run")
    session = begin(loading.load("quick", [*lives.SETTINGS, setting]))
    said = capsys.readouterr().out.splitlines()
    reason = "its config, data or Keras backend is another"
    assert said[-1] == f"not continued: {on_kaggle / 'input' / 'old' / 'run'}: {reason}"
    assert not session.run_folder.folder.exists()


def test_a_full_disk_does_not_end_the_session_before_its_run(monkeypatch, tmp_path, capsys):
    class Process(contextlib.nullcontext):
        returncode = None

        def wait(self, timeout):
            if not tried:
                raise in_kernel.subprocess.TimeoutExpired("run", timeout)
            self.returncode = 3

    tried = []

    def full():
        tried.append(1)
        raise UserError("submission.csv: cannot be written")

    session = SimpleNamespace(run_folder=RunFolder(tmp_path), data="data", publish=full)
    monkeypatch.setattr(in_kernel, "begin", lambda config: session)
    process = Process()
    process.enter_result = process
    monkeypatch.setattr(in_kernel.subprocess, "Popen", lambda command: process)
    assert in_kernel.run(tmp_path / "c.yaml", []) == 3
    assert capsys.readouterr().err == "kaggle-digits: submission.csv: cannot be written\n"
    assert len(tried) == 2


def test_without_a_submission_there_is_nothing_to_publish(begin, on_kaggle):
    begin().publish()
    assert not list((on_kaggle / "working").iterdir())
