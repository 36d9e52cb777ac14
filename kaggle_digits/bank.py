"""Fills the augmentation bank: variants of all training rows, drawn once by several processes.

Stands between folds and fits: every fit reads a variant of its own rows in each epoch, so no net
waits for augmentation, and folds, members and later runs share the work.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import connection

import numpy as np

from kaggle_digits import augment, disk, store
from kaggle_digits.config import Augment

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
    return disk.digest_json({"images": images_key, "seed": seed} | augment.transform_key(config))


def fill(
    cache: store.Cache,
    key: str,
    images: np.ndarray,
    config: Augment,
    seed: int,
    variants: int,
    processes: int | None = None,
    listener: Callable[[int, int], None] | None = None,
) -> int:
    """Draw the variants that are not in the bank yet.

    Args:
        cache: where the bank lies.
        key: the bank's name, see `bank_key`.
        images: (n, 28, 28) uint8.
        config: the `augment` section.
        seed: the run's seed.
        variants: how many variants the bank shall have.
        processes: how many draw at a time; None: one a core, fewer for little work. The bytes do
            not depend on it.
        listener: is called with (variants done, variants to draw).

    Returns:
        The number of variants that were drawn now.
    """
    cache.clear_half_written(key)
    missing = [number for number in range(variants) if not cache.has_variant(key, number)]
    if processes is None:
        worth = len(missing) * len(images) // IMAGES_WORTH_A_PROCESS
        processes = min(os.cpu_count() or 1, worth, len(missing))
    jobs = [(cache.folder, key, config, seed, number) for number in missing]
    if processes <= 1:
        for done, job in enumerate(jobs, 1):
            _draw(images, *job)
            if listener:
                listener(done, len(jobs))
        return len(jobs)
    # spawn: a forked copy of a process in which a backend has started may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _start_worker, (images,)) as executor:
        with _interrupt_ignored():
            futures = [executor.submit(_draw_in_worker, *job) for job in jobs]
        try:
            for done, future in enumerate(as_completed(futures), 1):
                future.result()
                if listener:
                    listener(done, len(jobs))
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise
    return len(jobs)


@contextmanager
def _interrupt_ignored() -> Iterator[None]:
    """Let processes that start here ignore Ctrl-C, which reaches them too; the parent tells of it.

    They inherit it: setting it in them would come too late for a Ctrl-C while they import.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _draw(images: np.ndarray, folder, key: str, config: Augment, seed: int, number: int) -> None:
    variant = augment.draw_variant(images, config, seed, number)
    store.Cache(folder).write_variant(key, number, variant)


_worker_images: np.ndarray


def _start_worker(images: np.ndarray) -> None:
    global _worker_images
    _worker_images = images
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Leave at once when the parent dies; the pool's own pipes would not tell."""
    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _draw_in_worker(*job) -> None:
    _draw(_worker_images, *job)
