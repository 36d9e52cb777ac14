"""`auto` in `train.threads` and `train.precision` -> what a run or a search computes with.

Results depend on both, so what was begun keeps them, on whichever machine it is continued.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kaggle_digits.config import auto, loading
from kaggle_digits.config.schema import AUTO, Config
from kaggle_digits.config.train_section import Precision
from kaggle_digits.system import environment
from kaggle_digits.system.console import Reporter, count_of
from kaggle_digits.training import backend, precision


@dataclass(frozen=True)
class Begun:
    """What a run or a search was begun with.

    Attributes:
        threads: the number of threads; None: not known, or nothing was begun.
        precisions: member -> its precision, as far as it is known.
    """

    threads: int | None = None
    precisions: Mapping[str, Precision] = field(default_factory=dict)


NOTHING = Begun()


def begun_with(config: Config | None) -> Begun:
    """Return what something was begun with, by its config; None: that is not known."""
    if config is None:
        return NOTHING
    threads = None if config.train.threads == AUTO else config.train.threads
    known = {name: value for name, value in config.precisions.items() if value != AUTO}
    return Begun(threads, known)


def resolved(config: Config, begun: Begun, kind: str, say: Callable[[str], object]) -> Config:
    """Return a config without `auto`, and say what it has become.

    Args:
        config: may have `auto`; what it states stays, and what was begun with another number of
            threads or another precision refuses it.
        begun: of what is continued.
        kind: run or search, for people.
        say: is given a line if the threads are not this machine's cores, and one for each `auto`
            precision.

    Returns:
        The config.
    """
    cores = environment.usable_cores()
    if config.train.threads == AUTO and begun.threads not in (None, cores):
        here = count_of(cores, "usable core")
        say(f"train.threads: {begun.threads}, as the {kind} was begun; this machine has {here}")
    found = as_begun(config, begun)
    for key, members in auto.precision_keys(config).items():
        is_begun = not begun.precisions.keys().isdisjoint(members)
        reason = (
            f"as the {kind} was begun" if is_begun else precision.here(found.train.threads).reason
        )
        say(f"{key}: {loading.setting(found, key)}, {reason}")
    return found


def as_begun(config: Config, begun: Begun = NOTHING, *, asks: bool = True) -> Config:
    """Return a config with what was begun with, else with this machine's threads and precision.

    Args:
        config: may have `auto`.
        begun: of what is perhaps continued.
        asks: whether the backend may be started, where it has to say what it runs on. It keeps the
            threads that it is started with, so nobody asks who only looks at a folder; a precision
            that is not known then stays `auto`, which is that of no run.
    """
    config = auto.with_threads(config, begun.threads or environment.usable_cores())
    config = auto.with_precision(config, begun.precisions)
    if asks and auto.precision_keys(config):
        config = auto.with_precision(config, {}, precision.here(config.train.threads).precision)
    return config


def start_backend(config: Config, reporter: Reporter) -> None:
    """Start the backend with a config's threads and say what it runs on.

    Args:
        config: has no `auto`.
        reporter: where the line goes.
    """
    with reporter.bar(1, f"starting {backend.name()}"):
        backend.configure(config.train.threads)
    reporter.say(f"runs on: {runs_on(config)}")


def runs_on(config: Config) -> str:
    """Write for people what nets are trained on and in, after `start_backend`."""
    precisions = " and ".join(dict.fromkeys(config.precisions.values()))
    return f"{backend.description(config.train.threads)}; {precisions}"
