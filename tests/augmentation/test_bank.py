import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import psutil
import pytest

from kaggle_digits.augmentation import bank, transforms
from kaggle_digits.config.schema import Augment, Elastic
from kaggle_digits.errors import UserError
from kaggle_digits.storage import files
from kaggle_digits.storage.cache import Cache

AFFINE = Augment(elastic=Elastic(p=0))


def bank_of(images):
    return bank.Bank(files.digest(images), AFFINE, 5)


def fill(folder, images, variants, **options):
    """Draw the first variants, or those of a list."""
    variants = range(variants) if isinstance(variants, int) else variants
    return bank.fill(Cache(folder), bank_of(images), images, variants, **options)


def place_of(images):
    """Return the folder of a bank within the cache."""
    return f"bank/v1-{bank_of(images).key}"


@pytest.fixture
def processes(monkeypatch):
    """Set how many processes are worth their start, however little work there is."""

    def set_number(number):
        monkeypatch.setattr(bank, "processes_worth", lambda images: number)

    return set_number


def contents(folder):
    """All files of a cache by name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_bytes_do_not_depend_on_the_number_of_processes(tmp_path, tiny_images, processes):
    steps = []
    for number in (1, 2):
        processes(number)
        drawn = fill(
            tmp_path / str(number), tiny_images, 3, listener=lambda *step: steps.append(step)
        )
        assert drawn == 3
    assert steps == [(1, 3), (2, 3), (3, 3)] * 2
    one, two = contents(tmp_path / "1"), contents(tmp_path / "2")
    assert [name for name in one if name.endswith(".npy")] == [
        f"{place_of(tiny_images)}/variant-{number:03d}.npy" for number in range(3)
    ]
    assert one == two


def test_bank_holds_the_drawn_variants(tmp_path, tiny_images):
    fill(tmp_path, tiny_images, 2)
    cache = Cache(tmp_path)
    for number in range(2):
        stored = cache.read_variant(bank_of(tiny_images).key, number)
        assert (stored.shape, stored.dtype) == ((40, 28, 28), np.uint8)
        assert not stored.flags.writeable
        drawn = transforms.draw_variant(tiny_images, AFFINE, 5, number)
        np.testing.assert_array_equal(stored, drawn)


def test_each_row_is_read_from_its_own_variant(tmp_path):
    cache, some_bank = Cache(tmp_path), bank.Bank("images", AFFINE, 5)
    for number in range(3):
        cache.write_variant(some_bank.key, number, np.full((4, 28, 28), 10 * number, np.uint8))
    images = bank.read_rows(cache, some_bank, np.array([2, 0, 1, 2]))
    assert (images.shape, images.dtype) == ((4, 28, 28), np.uint8)
    assert images[:, 0, 0].tolist() == images[:, 27, 27].tolist() == [20, 0, 10, 20]


def test_a_longer_run_only_adds_variants(tmp_path, tiny_images):
    def files():
        return {path: path.stat() for path in (tmp_path / place_of(tiny_images)).iterdir()}

    assert fill(tmp_path, tiny_images, 2) == 2
    before, bytes_before = files(), contents(tmp_path)
    assert fill(tmp_path, tiny_images, 2) == 0
    assert fill(tmp_path, tiny_images, 4) == 2
    after = files()
    assert len(after) == 2 * len(before)
    for path, status in before.items():
        assert after[path].st_ino == status.st_ino
        assert after[path].st_mtime_ns == status.st_mtime_ns
    assert bytes_before.items() <= contents(tmp_path).items()
    # Four at once are the same four.
    fill(tmp_path / "again", tiny_images, 4)
    assert contents(tmp_path / "again" / "bank") == contents(tmp_path / "bank")


@pytest.mark.parametrize("damage", ["flipped byte", "cut", "no checksum"])
def test_a_damaged_variant_is_noticed_and_drawn_again(tmp_path, tiny_images, damage):
    fill(tmp_path, tiny_images, 3)
    sound = contents(tmp_path)
    path = tmp_path / place_of(tiny_images) / "variant-001.npy"
    content = bytearray(path.read_bytes())
    if damage == "flipped byte":
        content[-1] ^= 1
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(content[:-1])
    else:
        path.write_bytes(content[: -files.CHECKSUM_BYTES])
    steps = []
    assert fill(tmp_path, tiny_images, 3, listener=lambda *step: steps.append(step)) == 1
    assert steps == [(1, 1)]
    assert contents(tmp_path) == sound


@pytest.fixture
def drawn(monkeypatch):
    """Numbers of the variants in the order that this process draws them."""
    numbers, draw = [], transforms.draw_variant

    def recorded(images, config, seed, variant):
        numbers.append(variant)
        return draw(images, config, seed, variant)

    monkeypatch.setattr(transforms, "draw_variant", recorded)
    return numbers


def test_what_is_needed_first_is_drawn_first(tmp_path, tiny_images, drawn):
    assert fill(tmp_path, tiny_images, [4, 0, 7]) == 3
    assert fill(tmp_path, tiny_images, iter([9, 0, 2, 4, 1])) == 3
    assert drawn == [4, 0, 7, 9, 2, 1]
    assert sorted(contents(tmp_path)) == [
        f"{place_of(tiny_images)}/variant-{number:03d}.npy" for number in (0, 1, 2, 4, 7, 9)
    ]
    # Which were wanted along with a variant has no influence on its bytes.
    fill(tmp_path / "again", tiny_images, [7])
    assert contents(tmp_path / "again" / "bank").items() <= contents(tmp_path / "bank").items()


def test_stop_between_variants(tmp_path, tiny_images, drawn):
    answers, steps = iter([False, False, True]), []
    count = fill(
        tmp_path,
        tiny_images,
        [4, 0, 7],
        listener=lambda *step: steps.append(step),
        stop=lambda: next(answers),
    )
    assert (count, drawn, steps) == (2, [4, 0], [(1, 3), (2, 3)])
    # What is drawn is kept.
    assert fill(tmp_path, tiny_images, [4, 0, 7]) == 1
    assert drawn == [4, 0, 7]


def test_stop_before_the_first_variant(tmp_path, tiny_images, drawn, processes):
    for number in (1, 2):
        processes(number)
        assert fill(tmp_path, tiny_images, 3, stop=lambda: True) == 0
    assert (drawn, contents(tmp_path)) == ([], {})


def workers():
    """This process's drawing processes that are alive."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has just ended
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


def test_workers_end_at_once_when_drawing_stops(tmp_path, tiny_images, processes):
    # A worker takes longer than the first pause to import what it draws with, and would then go on.
    answers = iter([False, True])
    processes(2)
    assert fill(tmp_path, tiny_images, 4, stop=lambda: next(answers)) == 0
    assert workers() == []
    assert contents(tmp_path) == {}


def test_workers_leave_signals_to_their_parent(tmp_path, tiny_images, processes):
    # Ctrl-C reaches all processes of a terminal, and SIGTERM often all of a job.
    hit = []

    def listener(done, total):
        for worker in workers() if done == 1 else ():
            hit.append(worker.pid)
            for number in (signal.SIGTERM, signal.SIGINT):
                os.kill(worker.pid, number)

    processes(2)
    assert fill(tmp_path / "hit", tiny_images, 6, listener=listener) == 6
    assert len(hit) == 2
    assert workers() == []
    processes(1)
    fill(tmp_path / "whole", tiny_images, 6)
    assert contents(tmp_path / "hit") == contents(tmp_path / "whole")


def test_a_killed_worker_is_reported_and_what_is_drawn_is_kept(tmp_path, tiny_images, processes):
    def listener(done, total):
        for worker in workers()[:1]:
            worker.kill()

    processes(2)
    with pytest.raises(UserError, match=r"drawing process was killed.*repeat the command"):
        fill(tmp_path, tiny_images, 50, listener=listener)
    assert workers() == []
    kept = len(list(tmp_path.rglob("variant-*.npy")))
    assert 1 <= kept < 50
    processes(1)
    assert fill(tmp_path, tiny_images, 50) == 50 - kept
    assert not list(tmp_path.rglob(f"{files.TEMP_PREFIX}*"))


def test_what_a_killed_process_half_wrote_is_cleared_away(tmp_path, tiny_images):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    folder = tmp_path / place_of(tiny_images)
    folder.mkdir(parents=True)
    dead, alive = (
        files.temporary_path(folder / "variant-001.npy", pid) for pid in (gone.pid, os.getpid())
    )
    for path in (dead, alive):
        path.write_bytes(b"half")
    fill(tmp_path, tiny_images, 1)
    assert not dead.exists()
    assert alive.exists()  # another run may be at work on the same bank


def test_a_bank_is_filled_with_its_own_images_only(tmp_path, tiny_images):
    other = tiny_images.copy()
    other[-1, -1, -1] ^= 1
    with pytest.raises(ValueError, match="expected the images of bank"):
        bank.fill(Cache(tmp_path), bank_of(tiny_images), other, [0])
    assert contents(tmp_path) == {}


def test_key_names_images_settings_and_seed():
    key = bank.Bank("images", Augment(), 1).key
    assert len(key) == 32
    assert bank.Bank("images", Augment(variants=9), 1).key == key
    others = {
        bank.Bank("other images", Augment(), 1).key,
        bank.Bank("images", AFFINE, 1).key,
        bank.Bank("images", Augment(), 2).key,
    }
    assert len(others | {key}) == 4


def test_a_new_setting_empties_no_bank():
    class Later(Augment):
        blur: float = 0.0

    for settings in ({}, {"rotate": (-1, 1), "elastic": {"p": 0.25, "sigma": 6.0}}):
        today, later = Augment(**settings), Later(**settings)
        assert bank.Bank("images", later, 1).key == bank.Bank("images", today, 1).key
        blurred = Later(**settings, blur=0.5)
        assert bank.Bank("images", blurred, 1).key != bank.Bank("images", today, 1).key


def test_processes_that_are_worth_their_start(monkeypatch):
    monkeypatch.setattr(bank.environment, "usable_cores", lambda: 3)
    worth = bank.IMAGES_WORTH_A_PROCESS
    counts = [
        bank.processes_worth(images) for images in (0, worth - 1, worth, 2 * worth, 9 * worth)
    ]
    assert counts == [0, 0, 1, 2, 3]


@pytest.mark.parametrize("number", [1, 2])
def test_what_a_user_can_fix_is_reported_from_a_worker_too(
    tmp_path, tiny_images, processes, number
):
    (tmp_path / "cache").write_text("a file where the folder should be")
    processes(number)
    with pytest.raises(UserError, match=r"cache.*cannot be written"):
        fill(tmp_path / "cache", tiny_images, 2)


ENDLESS_BANK = """
import sys
from pathlib import Path
import numpy as np
from kaggle_digits.augmentation import bank
from kaggle_digits.storage import files
from kaggle_digits.storage.cache import Cache
from kaggle_digits.config.schema import Augment

if __name__ == "__main__":
    images = np.zeros((500, 28, 28), np.uint8)
    bank.processes_worth = lambda images: 2
    drawn = bank.Bank(files.digest(images), Augment(), 5)
    bank.fill(Cache(Path(sys.argv[1])), drawn, images, range(10_000))
"""


def test_workers_end_with_their_parent(tmp_path, process_env):
    script, cache = tmp_path / "endless.py", tmp_path / "cache"
    script.write_text(ENDLESS_BANK)
    command = [sys.executable, str(script), str(cache)]
    parent = subprocess.Popen(command, env=process_env, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: any(cache.rglob("variant-*.npy")), 60)
        children = psutil.Process(parent.pid).children(recursive=True)
        workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        assert len(workers) == 2
    finally:
        parent.kill()  # SIGKILL: the parent can tell nobody
        parent.wait()
    try:
        wait_until(lambda: not any(map(alive, workers)), 10)
    finally:
        for worker in filter(alive, workers):
            worker.kill()


WITHOUT_GUARD = """
import sys
from pathlib import Path
import numpy as np
from kaggle_digits.augmentation import bank
from kaggle_digits.storage import files
from kaggle_digits.storage.cache import Cache
from kaggle_digits.config.schema import Augment

print("begun", flush=True)
images = np.zeros((2_000, 28, 28), np.uint8)  # more than a pipe holds
bank.processes_worth = lambda images: 2
drawn = bank.Bank(files.digest(images), Augment(), 5)
bank.fill(Cache(Path(sys.argv[1])), drawn, images, range(9))
"""


def draw_without_guard(tmp_path, process_env):
    script, cache = tmp_path / "without_guard.py", tmp_path / "cache"
    script.write_text(WITHOUT_GUARD)
    command = [sys.executable, str(script), str(cache)]
    done = subprocess.run(
        command, env=process_env, capture_output=True, text=True, timeout=120, check=False
    )
    return done, len(list(cache.rglob("variant-*.npy")))


def test_a_script_without_a_guard_is_not_run_again_by_workers(tmp_path, process_env):
    done, drawn = draw_without_guard(tmp_path, process_env)
    assert (done.returncode, done.stdout, drawn) == (0, "begun\n", 9), done.stderr


def test_workers_that_die_at_their_start_do_not_hold_the_parent_up(tmp_path, process_env):
    # Each worker dies before it listens to its parent.
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif 'spawn_main' in ' '.join(sys.orig_argv):\n    os._exit(1)\n"
    )
    process_env["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{process_env['PYTHONPATH']}"
    done, drawn = draw_without_guard(tmp_path, process_env)
    assert "augmentation: a drawing process was killed" in done.stderr
    assert drawn == 0


def alive(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.05)
