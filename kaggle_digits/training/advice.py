"""What people should know before fits are trained: what takes long here, or too large a batch."""

from __future__ import annotations

from collections.abc import Sequence

from kaggle_digits.system.console import duration
from kaggle_digits.training import backend, precision
from kaggle_digits.training.fit_spec import FitSpec
from kaggle_digits.training.time_left import cpu_seconds

LONG_SECONDS = 2 * 3600  # what takes longer without a GPU gets a warning


def warnings(
    specs: Sequence[FitSpec], rows: int, is_limited: bool = False, times: float = 1.0
) -> list[str]:
    """Return warnings, a line each; the backend has been started.

    Args:
        specs: the fits, at least one.
        rows: number of training rows.
        is_limited: there is a time limit, so nothing takes long.
        times: how often as much is trained, for example in the trials of a search.
    """
    lines = []
    if not is_limited and not backend.accelerators():
        seconds = times * cpu_seconds(specs, rows)
        if seconds > LONG_SECONDS:
            lines.append(
                f"WARNING: without a GPU this will take about {duration(seconds)}, by the size of "
                "its nets. Use a machine with a GPU (on Kaggle: Settings > Accelerator), a smaller "
                "config (--config standard, lunch-break or quick), or a --time-limit; "
                "kaggle-digits bench measures more exactly"
            )
    for spec in {spec.member: spec for spec in specs}.values():
        batch, seen = spec.settings.train.batch_size, rows - len(spec.heldout_rows)
        if batch > seen:
            lines.append(
                f"WARNING: train.batch_size of {spec.member} is {batch:,}, but a fit trains on "
                f"{seen:,} rows, so an epoch is one step; use a smaller batch"
            )
    for chosen in dict.fromkeys(spec.settings.train.precision for spec in specs):
        if reason := precision.why_slow(chosen):
            lines.append(
                f"WARNING: train.precision: {chosen} is slower here than float32, {reason}; a new "
                "run with --set train.precision=auto takes what is fast"
            )
    return lines
