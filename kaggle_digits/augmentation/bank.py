"""Fills the augmentation bank: variants of all training rows, drawn once by several processes.

Stands between folds and fits: every fit reads a variant of its own rows in each epoch, so no net
waits for augmentation, and folds, members and later runs share the work.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, contextmanager
from itertools import islice
from multiprocessing import connection
from pathlib import Path

import numpy as np

from kaggle_digits.augmentation import transforms
from kaggle_digits.config.schema import Augment
from kaggle_digits.errors import UserError
from kaggle_digits.storage import files
from kaggle_digits.storage.cache import Cache

# A new process takes seconds to import OpenCV and albumentations; below this many images the one
# that runs already is faster.
IMAGES_WORTH_A_PROCESS = 20_000


def bank_key(images_key: str, config: Augment, seed: int) -> str:
    """Name a bank by all that its bytes depend on.

    Args:
        images_key: digest of the images.
        config: the `augment` section; `variants` does not count.
        seed: the run's seed.

    Returns:
        32 hex digits.
    """
    return files.digest_json(
        {"images": images_key, "seed": seed} | transforms.transform_key(config)
    )


def fill(
    cache: Cache,
    key: str,
    images: np.ndarray,
    config: Augment,
    seed: int,
    variants: Iterable[int],
    processes: int | None = None,
    listener: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> int:
    """Draw the variants that are not in the bank yet.

    Args:
        cache: where the bank lies.
        key: the bank's name, see `bank_key`.
        images: (n, 28, 28) uint8.
        config: the `augment` section.
        seed: the run's seed.
        variants: numbers of the wanted variants, most urgent first.
        processes: how many draw at a time; None: one a core, fewer for little work. The bytes do
            not depend on it.
        listener: is called with (variants done, variants to draw).
        stop: is asked now and then whether to leave it at what is drawn.

    Returns:
        The number of variants that were drawn now.

    Raises:
        UserError: the disk is full, or a drawing process was killed.
    """
    cache.clear_temporary_files()
    missing = [number for number in variants if not cache.has_variant(key, number)]
    if processes is None:
        worth = len(missing) * len(images) // IMAGES_WORTH_A_PROCESS
        processes = min(os.cpu_count() or 1, worth, len(missing))
    jobs = [(cache.folder, key, config, seed, number) for number in missing]
    done = 0
    with ExitStack() as stack:
        if processes > 1:
            place = stack.enter_context(cache.spill(key, images))
            drawn = _draw_at_once(place, jobs, processes, stop)
        else:
            drawn = _draw_in_turn(images, jobs, stop)
        stack.enter_context(closing(drawn))  # whatever happens, the processes end now
        for done in drawn:
            if listener:
                listener(done, len(jobs))
    return done


def _draw_in_turn(images: np.ndarray, jobs: list[tuple], stop: Callable[[], bool]) -> Iterator[int]:
    for done, job in enumerate(jobs, 1):
        if stop():
            return
        _draw(images, *job)
        yield done


def _draw_at_once(
    images: Path, jobs: list[tuple], processes: int, stop: Callable[[], bool]
) -> Iterator[int]:
    """Draw in several processes, which end at once when this one stops or dies.

    They read the images from a file: handed over as an argument, so many would fill the pipe to a
    process that dies at its start, and this one would wait for ever.
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
                with _signals_held():
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
            "augmentation: a drawing process was killed, perhaps for want of memory; close other "
            "programs and repeat the command, what is drawn is kept"
        ) from None
    finally:
        writer.close()
        executor.shutdown(cancel_futures=True)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Have processes that start here pass over Ctrl-C and SIGTERM, which may reach them too.

    Their parent tells of it and ends them. They inherit the mask: setting it in them would come too
    late for a signal while they import. Here a signal is only put off to the end of the block.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _draw(images: np.ndarray, folder, key: str, config: Augment, seed: int, number: int) -> None:
    variant = transforms.draw_variant(images, config, seed, number)
    Cache(folder).write_variant(key, number, variant)


_worker_images: np.ndarray


def _start_worker(images: Path, parent: connection.Connection) -> None:
    global _worker_images
    _worker_images = np.load(images, mmap_mode="r")
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()


def _end_with_parent(parent: connection.Connection) -> None:
    """Leave at once when the parent dies or closes its end; the pool's own pipes would not tell."""
    connection.wait([parent, multiprocessing.parent_process().sentinel])
    os._exit(1)


def _draw_in_worker(*job) -> None:
    _draw(_worker_images, *job)
