"""`train.threads: auto` -> the number of threads that a run or a search computes with."""

from __future__ import annotations

from collections.abc import Callable

from kaggle_digits.config import loading
from kaggle_digits.config.schema import AUTO, Config
from kaggle_digits.system import environment
from kaggle_digits.system.console import count_of


def resolved(config: Config, begun: int | None, kind: str, say: Callable[[str], object]) -> Config:
    """Return a config in which `train.threads` is a number.

    Results depend on it, so a run or a search keeps the number that it was begun with, on whichever
    machine it is continued.

    Args:
        config: may have `auto`; a number stays, and what was begun with another one refuses it.
        begun: the number of what is continued; None: it is new.
        kind: run or search, for people.
        say: is given a line if the number is not that of this machine's cores.

    Returns:
        The config.
    """
    cores = environment.usable_cores()
    if config.train.threads == AUTO and begun not in (None, cores):
        here = count_of(cores, "usable core")
        say(f"train.threads: {begun}, as the {kind} was begun; this machine has {here}")
    return as_begun(config, begun)


def as_begun(config: Config, begun: int | None) -> Config:
    """Return a config with the number of threads that was begun with, else that of the cores."""
    return loading.with_threads(config, begun or environment.usable_cores())


def threads_of(begun: Config | None) -> int | None:
    """Return the number of threads that something was begun with; None where it is not known."""
    return None if begun is None or begun.train.threads == AUTO else begun.train.threads
