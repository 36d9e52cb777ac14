"""What can go wrong around a run: damaged files, a full disk, a dead worker, a second process."""

import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from lives import DRAWING, Job, Life, assert_same_result

from kaggle_digits.storage import files

# Damage


def flip_a_byte(path: Path, place: int | None = None) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if place is None else place] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def copy_of(undisturbed: Job, run: Path, home: Path) -> Job:
    shutil.copytree(run, home / "run")
    shutil.copytree(undisturbed.cache, home / "cache")
    return Job(home, home / "cache", out=home / "run")


def damaged(life: Life) -> set[str]:
    """Return the files that a life called damaged, each with what becomes of it."""
    return {
        line.removeprefix("damaged: ") for _, line in life.printed if line.startswith("damaged: ")
    }


def test_damage_in_an_unfinished_run_is_named_and_made_again(tmp_path, undisturbed):
    job = copy_of(undisturbed, undisturbed.home / "cut-off", tmp_path)
    model, state = job.run / "fits" / "cnn-fold1" / "model.keras", job.state("cnn-fold2")
    folds, predictions = job.run / "folds.npz", job.run / "predictions.npz"
    parsed, variant = job.parsed()[0], job.variants()[1]
    for path in (state, folds, predictions, parsed, variant):
        flip_a_byte(path)
    truncate(model)
    life = job.finish()
    assert damaged(life) == {
        f"{state}: its checksum differs; cnn fold 2 starts from the beginning",
        f"{folds}: its checksum differs; it is made again",
        f"{parsed}: its checksum differs; it is made again",
        f"{variant}: its checksum differs; it is made again",
        f"{model}: its checksum in fit.json differs; cnn fold 1 is trained again",
    }
    assert life.said("differs from its checksum in manifest.json: predictions.npz; it is made")
    assert life.said("augmentation bank: 3 variants, 1 drawn now")
    for fold in (1, 2):
        assert life.said(f"cnn fold {fold}, epoch 1/")
    assert_same_result(job, undisturbed.result())


@pytest.mark.chaos
def test_damage_in_a_finished_run_is_named_and_made_again(tmp_path, undisturbed):
    job = copy_of(undisturbed, undisturbed.run, tmp_path)
    facts = job.run / "fits" / "cnn-fold1" / "fit.json"
    predictions = job.run / "fits" / "cnn-fold2" / "predictions.npz"
    # Within a text: of a brace or quote there would be another message.
    flip_a_byte(facts, facts.read_text().index('"digest": "') + len('"digest": "'))
    flip_a_byte(predictions)
    life = job.finish()
    assert damaged(life) == {
        f"{facts}: its checksum differs; cnn fold 1 is trained again",
        f"{predictions}: its checksum in fit.json differs; cnn fold 2 is trained again",
    }
    for fold in (1, 2):
        assert life.said(f"cnn fold {fold}, epoch 1/")
    assert_same_result(job, undisturbed.result())


def test_half_written_arrays_of_a_killed_process_are_cleared_away(tmp_path):
    job = Job(tmp_path, tmp_path / "cache", out=tmp_path / "run")
    killed = job.begin()
    killed.end(signal.SIGKILL)
    whole = job.cache / "arrays" / "v1-csv1-0123.npz"
    remains = files.temporary_path(whole, killed.process.pid)
    remains.parent.mkdir(parents=True)
    remains.write_bytes(b"half")
    assert job.begin("--time-limit", "1s").end() == 2
    assert not remains.exists()


# Disks


def can_mount() -> bool:
    return sys.platform == "linux" and os.geteuid() == 0 and _mounts()


def _mounts() -> bool:
    """Try: a container's root may not."""
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return shutil.which("unshare") and subprocess.run(command, capture_output=True).returncode == 0


@pytest.fixture
def small_disk(tmp_path):
    """Make a disk that can be filled: a file system in memory, else no file may be longer."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not can_mount():
        yield LimitedFiles(folder)
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "none", folder], check=True)
    try:
        yield Tmpfs(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


class Tmpfs:
    """A mounted file system that a file of no use fills.

    Args:
        folder: where it is mounted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def leave(self, total: int, largest_file: int, life: Life) -> None:
        """Leave so many bytes in all."""
        free = os.statvfs(self.folder)
        self._filler.write_bytes(bytes(free.f_bavail * free.f_bsize - total))

    def make_space(self) -> None:
        self._filler.unlink()


class LimitedFiles:
    """An ordinary folder; a process that writes into it may write no long files.

    Args:
        folder: the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def leave(self, total: int, largest_file: int, life: Life) -> None:
        """Leave so many bytes for each file."""
        limits = (largest_file, resource.RLIM_INFINITY)
        resource.prlimit(life.process.pid, resource.RLIMIT_FSIZE, limits)

    def make_space(self) -> None:
        """The next process has no limit."""


@pytest.mark.chaos
def test_full_disk_ends_in_one_line_and_after_space_is_made_the_run_continues(
    small_disk, undisturbed
):
    job = Job(small_disk.folder, small_disk.folder / "cache", out=small_disk.folder / "run")
    variant = undisturbed.variants()[0].stat().st_size
    state = (undisturbed.home / "cut-off" / "fits" / "cnn-fold2.state").stat().st_size
    fit = sum(file.stat().st_size for file in undisturbed.whole_fits()[0].iterdir())
    model = (undisturbed.whole_fits()[0] / "model.keras").stat().st_size
    assert state < 0.8 * model, "else no size of a disk lets states pass and a fit not"
    picture = job.run / "augmentation.png"
    strikes = [
        # A moment before it, bytes left in all, bytes for a file -> what cannot be written.
        (job.variants, variant // 2, variant // 2, "/variant-"),
        (picture.exists, state // 2, state // 2, "cnn-fold1.state"),
        (picture.exists, 2 * state + fit // 4, (state + model) // 2, "cnn-fold1/"),
    ]
    for reached, total, largest_file, where in strikes:
        life = job.begin()
        assert life.wait_for(reached), life.complaints
        life.signal(signal.SIGSTOP)
        small_disk.leave(total, largest_file, life)
        life.signal(signal.SIGCONT)
        assert life.end() == 2, life.output
        [complaint] = life.complaints
        assert where in complaint
        assert "make space" in complaint
        assert "repeat the command" in complaint
        assert not job.half_written()
        small_disk.make_space()
    job.finish()
    assert_same_result(job, undisturbed.result())


@pytest.fixture
def read_only(tmp_path):
    """Return a function that makes a folder read-only, for root too."""
    mounted, changed = [], []

    def protect(folder: Path) -> None:
        if can_mount():
            subprocess.run(["mount", "--bind", folder, folder], check=True)
            mounted.append(folder)
            subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        elif os.geteuid() == 0:
            pytest.skip("root writes into any folder, and cannot mount one read-only here")
        else:
            changed.append(folder)
            folder.chmod(0o555)

    yield protect
    for folder in mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)
    for folder in changed:
        folder.chmod(0o755)


@pytest.mark.parametrize("place", ["out", "cache"])
def test_read_only_folder_ends_in_one_line(tmp_path, undisturbed, read_only, place):
    job = Job(tmp_path, tmp_path / "cache", out=tmp_path / "out" / "run")
    (tmp_path / place).mkdir()
    read_only(tmp_path / place)
    life = job.begin()
    assert life.end() == 2
    [complaint] = life.complaints
    assert complaint.startswith(f"kaggle-digits: {tmp_path / place}/")
    assert complaint.endswith("; give a folder that can be written (--out, --cache)")


def test_finished_run_that_has_become_read_only_is_left_alone(tmp_path, undisturbed, read_only):
    job = copy_of(undisturbed, undisturbed.run, tmp_path)
    read_only(job.run)
    life = job.begin()
    assert life.end() == 2
    [complaint] = life.complaints
    assert str(job.run) in complaint
    assert "; copy the folder to where it can be written, and give the copy (--out)" in complaint
    assert_same_result(job, undisturbed.result())


# Processes


def test_second_process_in_a_run_folder_is_refused(tmp_path, undisturbed):
    job = Job(tmp_path, undisturbed.cache, out=tmp_path / "run")
    first = job.begin()
    assert first.wait_for(lambda: first.said("run folder: ")), first.complaints
    second = job.begin()
    assert second.end() == 2
    assert second.complaints == [
        f"kaggle-digits: {job.run}: process {first.process.pid} is at work in this folder; "
        "wait for it, or give another --out"
    ]
    assert first.process.poll() is None
    assert first.end(signal.SIGKILL) == -signal.SIGKILL
    # The lock has not outlived its process.
    third = job.begin()
    assert third.wait_for(lambda: third.said("run folder: ")), third.complaints
    third.end(signal.SIGKILL)


def test_processes_that_draw_and_their_parent_die_without_each_other(tmp_path):
    job = Job(tmp_path, tmp_path / "cache", DRAWING, out=tmp_path / "run")
    life = job.begin()
    assert life.wait_for(job.variants), life.complaints
    assert len(life.drawing()) == 2
    # `end` waits until no process of the group is left.
    assert life.end(signal.SIGKILL, alone=True) == -signal.SIGKILL
    kept = job.variants()

    life = job.begin()
    assert life.wait_for(lambda: len(job.variants()) > len(kept)), life.complaints
    life.drawing()[0].kill()
    assert life.end() == 2
    assert life.complaints == [
        "kaggle-digits: augmentation: a drawing process was killed, perhaps for lack of memory; "
        "close other programs and repeat the command, what is drawn is kept"
    ]
    kept = job.variants()

    life = job.begin()
    assert life.wait_for(lambda: life.said("augmentation bank: ")), life.complaints
    wanted = len(job.variants())
    assert life.said(f"augmentation bank: {wanted} variants, {wanted - len(kept)} drawn now")
    life.end(signal.SIGKILL)
    for path in job.variants():
        files.read_checksummed(path)
    assert not list(job.cache.rglob(f"{files.TEMP_PREFIX}*"))
