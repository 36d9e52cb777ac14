"""Fills the augmentation bank: variants of all training rows, drawn once by several processes.

Stands between folds and fits: every fit reads a variant of its own rows in each epoch, so no net
waits for augmentation, and folds, members and later runs share the work.
"""

import multiprocessing
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from multiprocessing import connection
from pathlib import Path

import numpy as np

from kaggle_digits.augmentation import transforms
from kaggle_digits.config.schema import Augment
from kaggle_digits.errors import UserError
from kaggle_digits.storage import files
from kaggle_digits.storage.cache import Cache
from kaggle_digits.system import environment

# A new process takes seconds to import OpenCV and albumentations; for fewer images than this, the
# process that is running already is faster.
IMAGES_WORTH_A_PROCESS = 20_000


@dataclass(frozen=True)
class Bank:
    """All that the bytes of a bank's variants depend on, together with the installed packages.

    Attributes:
        images_key: digest of the images, see `files.digest`.
        augment: the `augment` section; what fits do with variants is no part of the key.
        seed: the run's seed, or one that follows from it for a single member.
    """

    images_key: str
    augment: Augment
    seed: int

    @cached_property
    def key(self) -> str:
        """The bank's name in the cache, 32 hex digits."""
        return files.digest_json(
            {"images": self.images_key, "seed": self.seed} | transforms.transform_key(self.augment)
        )


def fill(
    cache: Cache,
    bank: Bank,
    images: np.ndarray,
    variants: Iterable[int],
    listener: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> int:
    """Draw the variants that are not in the bank yet, in several processes if it is much work.

    Args:
        cache: where the bank is stored.
        bank: what to draw.
        images: (n, 28, 28) uint8, those of `bank.images_key`.
        variants: numbers of the wanted variants, most urgent first.
        listener: is called with (variants done, variants to draw).
        stop: is asked now and then whether to leave it at what is drawn.

    Returns:
        The number of variants that were drawn now; their bytes do not depend on the number of
        processes.

    Raises:
        ValueError: the images are not those of the bank.
        UserError: the disk is full, or a drawing process was killed.
    """
    cache.clear_temporary_files()
    missing = [number for number in variants if not cache.has_variant(bank.key, number)]
    if missing and files.digest(images) != bank.images_key:
        raise ValueError(f"expected the images of bank {bank.key}, found others")
    processes = min(processes_worth(len(missing) * len(images)), len(missing))
    done = 0
    with ExitStack() as stack:
        if processes > 1:
            place = stack.enter_context(cache.spill(bank.key, images))
            jobs = [(cache.folder, bank, number) for number in missing]
            drawn = _draw_at_once(place, jobs, processes, stop)
        else:
            drawn = _draw_in_turn(images, cache.folder, bank, missing, stop)
        stack.enter_context(closing(drawn))  # whatever happens, the processes end now
        for done in drawn:
            if listener:
                listener(done, len(missing))
    return done


def read_rows(cache: Cache, bank: Bank, variants: np.ndarray) -> np.ndarray:
    """Read each row from the variant that is its own.

    Args:
        cache: where the bank is stored.
        bank: all these variants of it are drawn.
        variants: (n,) the variant of each row.

    Returns:
        (n, 28, 28) uint8.
    """
    images = np.empty((len(variants), 28, 28), np.uint8)
    for number in np.unique(variants):
        rows = np.flatnonzero(variants == number)
        images[rows] = cache.read_variant(bank.key, int(number))[rows]
    return images


def processes_worth(images: int) -> int:
    """Return how many processes at most are worth their start to draw a number of images."""
    return min(environment.usable_cores(), images // IMAGES_WORTH_A_PROCESS)


def _draw_in_turn(
    images: np.ndarray, folder: Path, bank: Bank, numbers: list[int], stop: Callable[[], bool]
) -> Iterator[int]:
    for done, number in enumerate(numbers, 1):
        if stop():
            return
        _draw(images, folder, bank, number)
        yield done


def _draw_at_once(
    images: Path, jobs: list[tuple], processes: int, stop: Callable[[], bool]
) -> Iterator[int]:
    """Draw in several processes, which end at once when this one stops or dies.

    They read the images from a file: handed over as an argument, so many would fill the pipe to a
    process that dies at its start, and this one would wait forever.
    """
    # spawn: a forked copy of a process in which a backend has started may hang.
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    executor = ProcessPoolExecutor(processes, context, _start_worker, (images, reader))
    waiting, running, done = iter(jobs), set(), 0
    try:
        while not stop():
            # No more than can be at work: what is handed over cannot be taken back.
            for job in islice(waiting, processes - len(running)):
                with _worker_start():
                    running.add(executor.submit(_draw_in_worker, *job))
            if not running:
                executor.shutdown()
                return
            finished, running = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
            for future in finished:
                future.result()
                done += 1
                yield done
    except BrokenProcessPool:
        raise UserError(
            "augmentation: a drawing process was killed, perhaps for lack of memory; close other "
            "programs and repeat the command, what is drawn is kept"
        ) from None
    finally:
        writer.close()
        executor.shutdown(cancel_futures=True)


@contextmanager
def _worker_start() -> Iterator[None]:
    """Start processes that ignore Ctrl-C and SIGTERM, and do not run the caller's script again.

    Their parent reports a signal and ends them. They inherit the mask: setting it in them would
    come too late for a signal while they import. Here a signal is only delayed to the end of the
    block. A spawned process imports the parent's `__main__`, and a script without an
    `if __name__` guard would run itself there.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _draw(images: np.ndarray, folder: Path, bank: Bank, number: int) -> None:
    variant = transforms.draw_variant(images, bank.augment, bank.seed, number)
    Cache(folder).write_variant(bank.key, number, variant)


_worker_images: np.ndarray


def _start_worker(images: Path, parent: connection.Connection) -> None:
    global _worker_images
    _worker_images = np.load(images, mmap_mode="r")
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()


def _end_with_parent(parent: connection.Connection) -> None:
    """End at once when the parent dies or closes its end; the pool's own pipes would not say so."""
    connection.wait([parent, multiprocessing.parent_process().sentinel])
    os._exit(1)


def _draw_in_worker(*job) -> None:
    _draw(_worker_images, *job)
