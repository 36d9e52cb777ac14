"""Figures, predictions and curves of a run -> the charts of its page.

Those of any digits, a confusion matrix for one, are in `digit_charts`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from kaggle_digits.data.competition import KNOWN_SCORES, TRAINED_ON_TEST
from kaggle_digits.report import charts
from kaggle_digits.report.charts import CROWDED, LIGHT, spans
from kaggle_digits.results.run_metrics import RunMetrics
from kaggle_digits.results.run_report import FitReport
from kaggle_digits.scoring.ensemble import CLASSES
from kaggle_digits.system.console import count_of, duration

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_ROWS = 60  # of nets that are drawn one by one
BEST_POSSIBLE = 0.9996  # right end of the axis of scores

Drawn = TypeVar("Drawn")


# The expected leaderboard


def leaderboard_chart(metrics: RunMetrics, kaggle_score: float | None = None) -> Markup | None:
    """Draw the expected leaderboard beside known scores; None where nothing is expected.

    Args:
        metrics: the run's figures.
        kaggle_score: what Kaggle gave the submission; None: it is not known.
    """
    if metrics.expected_leaderboard is None or not metrics.has_leaderboard:
        return None
    low, high = metrics.expected_leaderboard
    of_forecast = ", optimistic" if metrics.is_forecast_optimistic else ""
    of_score = ", optimistic" if metrics.optimistic else ""
    out_of_fold = metrics.oof_accuracy, metrics.oof_interval
    own = [
        (f"expected here, 95 %{of_forecast}", None, (low, high), "best", "s"),
        (f"out of fold, 95 %{of_score}", *out_of_fold, "front", "o"),
    ]
    if kaggle_score is not None:
        own.insert(0, ("Kaggle's score", kaggle_score, None, "best", "*"))
    known = [(name, score, None, "ink", "D") for name, score in KNOWN_SCORES.items()]
    rows = [*own, *known]

    def fill(figure: Figure) -> dict[str, str]:
        axes = figure.subplots()
        axes.axvspan(TRAINED_ON_TEST, 1, color=LIGHT["fifth1"], linewidth=0)
        for row, (_, score, interval, color, marker) in enumerate(rows):
            if interval:
                thick = 9 if score is None else 2.5
                ends = {"solid_capstyle": "butt"}
                axes.plot(interval, [row, row], color=LIGHT[color], linewidth=thick, **ends)
            if score is not None:
                size = 12 if marker == "*" else 6
                axes.plot(score, row, marker=marker, color=LIGHT[color], ms=size, gid=f"row{row}")
                beside = {"xytext": (9, 0), "textcoords": "offset points", "va": "center"}
                end = interval[1] if interval else score
                axes.annotate(f"{score:.5f}", (end, row), fontsize=8, bbox=charts.PLATE, **beside)
        least = min(low, metrics.oof_interval[0], *KNOWN_SCORES.values())
        charts.scale_by_nines(axes, "x")
        # As much to the left as a tenth more mistakes.
        axes.set_xlim(1 - 1.1 * (1 - least), BEST_POSSIBLE)
        axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("accuracy on the test rows")
        place = {"rotation": 90, "ha": "center", "va": "center", "fontsize": 8}
        middle = 1 - ((1 - TRAINED_ON_TEST) * (1 - BEST_POSSIBLE)) ** 0.5
        axes.text(middle, (len(rows) - 1) / 2, "trained on the test labels", **place)
        return {
            f"row{n}": f"{name}: {score:.5f}"
            for n, (name, score, *_) in enumerate(rows)
            if score is not None
        }

    scored = "" if kaggle_score is None else f"Kaggle's score {kaggle_score:.5f}, "
    known_texts = ", ".join(f"{name} {score:.5f}" for name, score in KNOWN_SCORES.items())
    description = (
        f"{scored}expected leaderboard {low:.5f} to {high:.5f} (95 % band{of_forecast}), "
        f"out-of-fold accuracy {metrics.oof_accuracy:.5f}{of_score}; known scores: {known_texts}; "
        f"scores of {TRAINED_ON_TEST} and more come from training on the test images' labels"
    )
    return charts.draw("leaderboard", 0.9 + 0.34 * len(rows), fill, description)


# Accuracy of nets


def nets_chart(metrics: RunMetrics) -> Markup | None:
    """Draw the out-of-fold accuracy of all nets, members and the ensemble with their intervals.

    Returns:
        The chart; None where no row is predicted out of fold.
    """
    if metrics.oof is None:
        return None
    rows = [("ensemble", metrics.oof, "best", "D")]
    count = sum(len(member.fits) for member in metrics.members.values())
    members = {name: each for name, each in metrics.members.items() if each.accuracy is not None}
    for name, member in members.items():
        if len(members) > 1:
            rows.append((name, member, "ink", "s"))
        if count <= MOST_ROWS:
            rows += [
                (f"{name}, fold {fold.removeprefix('fold')}", score, "front", "o")
                for fold, score in member.fits.items()
                if score
            ]

    def fill(figure: Figure) -> dict[str, str]:
        axes, titles = figure.subplots(), {}
        low, high = metrics.oof.interval
        axes.axvspan(low, high, color=LIGHT["fifth1"], linewidth=0)
        for row, (name, score, color, marker) in enumerate(rows):
            axes.plot(score.interval, [row, row], color=LIGHT[color], linewidth=1.6)
            look = {"marker": marker, "color": LIGHT[color], "markersize": 6, "gid": f"net{row}"}
            axes.plot(score.accuracy, row, **look)
            titles[f"net{row}"] = (
                f"{name}: {score.accuracy:.5f}, {score.errors:,} of {score.rows:,} rows wrong"
            )
        axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        axes.xaxis.get_major_locator().set_params(nbins=5)
        axes.set_xlabel("out-of-fold accuracy, 95 % interval")
        return titles

    scores = [each.accuracy for member in members.values() for each in member.fits.values() if each]
    description = (
        f"Out-of-fold accuracy of the ensemble, {metrics.oof_accuracy:.5f}, and of "
        f"{count_of(count, 'net')}, {min(scores):.5f} to {max(scores):.5f}, with 95 % intervals"
    )
    return charts.draw("nets", 0.8 + 0.23 * len(rows), fill, description)


# Learning curves

# Column -> (column on held-out rows, label).
CURVES = {
    "loss": ("val_loss", "loss"),
    "accuracy": ("val_accuracy", "accuracy"),
    "learning_rate": (None, "learning rate"),
}
KEPT = {"marker": "*", "markersize": 10, "linestyle": "none"}
LOOKS = (("front", "o"), ("best", "s"), ("ink", "^"), ("other", "D"), ("fifth4", "v"))


def curves_chart(
    fits: Sequence[FitReport], draw: Callable[..., Drawn] = charts.draw
) -> Drawn | None:
    """Draw loss, accuracy and learning rate of each fit by epoch, a look for each member.

    Args:
        fits: the finished fits; curves on held-out rows are drawn where their history has them, and
            a star where early stopping has kept an epoch's weights.
        draw: `charts.draw` or `charts.picture`.

    Returns:
        The chart; None where no fit has a history.
    """
    fits = [fit for fit in fits if len(fit.history.get("epoch", ())) and "loss" in fit.history]
    if not fits:
        return None
    columns = [column for column in CURVES if any(column in fit.history for fit in fits)]
    members = list(dict.fromkeys(fit.member for fit in fits))
    looks = dict(zip(members, cycle(LOOKS), strict=False))
    has_heldout = any("val_loss" in fit.history for fit in fits)
    has_kept = any(fit.kept_epoch for fit in fits)

    def fill(figure: Figure) -> dict[str, str]:
        panels, titles = figure.subplots(len(columns), sharex=True, squeeze=False)[:, 0], {}
        for axes, column in zip(panels, columns, strict=True):
            heldout, label = CURVES[column]
            shown = []
            for number, fit in enumerate(fits):
                color, marker = looks[fit.member]
                for name, line in ((column, "-"), (heldout, "--")):
                    if name in fit.history:
                        part = f"{name}{number}"
                        look = {"color": LIGHT[color], "linestyle": line, "linewidth": 1.2}
                        look |= _marks(marker, len(fit.history["epoch"]))
                        values = fit.history[name]
                        axes.plot(fit.history["epoch"], values, clip_on=False, gid=part, **look)
                        when = (
                            f"in epoch {fit.kept_epoch}, kept" if fit.kept_epoch else "at the end"
                        )
                        titles[part] = f"{fit.name}: {label} {fit.kept(name):.5g} {when}"
                        if fit.kept_epoch:
                            place = fit.kept_epoch, fit.kept(name)
                            axes.plot(*place, color=LIGHT[color], clip_on=False, **KEPT)
                        shown += values
            _scale(axes, column, shown)
            axes.set_ylabel(label)
        panels[-1].set_xlabel("epoch")
        panels[-1].xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        if len(members) > 1 or has_heldout:
            _add_legend(figure, looks, has_heldout, has_kept)
        figure.align_ylabels()
        return titles

    last = [fit.kept("accuracy") for fit in fits if "accuracy" in fit.history]
    when = "in the epochs that are kept" if has_kept else "at the end"
    at_end = f"; accuracy {when} {min(last):.5f} to {max(last):.5f}" if last else ""
    number = count_of(len(fits), "fit")
    description = f"Training loss, accuracy and learning rate by epoch of {number}{at_end}"
    return draw("curves", 0.8 + 1.45 * len(columns), fill, description)


def _marks(marker: str, epochs: int) -> dict[str, object]:
    # A mark at each of many epochs would hide the line.
    return {"marker": marker, "markersize": 3.5, "markevery": max(1, epochs // 8)}


def _scale(axes: Axes, column: str, values: Sequence[float]) -> None:
    if column == "accuracy":
        charts.scale_accuracies(axes, values)
        axes.set_ylim(top=min(1, axes.get_ylim()[1]))
    elif column == "loss" and spans(values, CROWDED):
        axes.set_yscale("log")
        charts.set_ticks(axes.yaxis, charts.ROUND)


def _add_legend(
    figure: Figure, looks: Mapping[str, tuple[str, str]], has_heldout: bool, has_kept: bool
) -> None:
    from matplotlib.lines import Line2D

    lines = [
        Line2D([], [], color=LIGHT[color], marker=marker, markersize=4, label=member)
        for member, (color, marker) in looks.items()
    ]
    if has_heldout:
        styles = (("-", "training"), ("--", "held-out rows"))
        lines += [
            Line2D([], [], color=LIGHT["ink"], linestyle=line, label=label)
            for line, label in styles
        ]
    if has_kept:
        lines.append(Line2D([], [], color=LIGHT["ink"], label="epoch that is kept", **KEPT))
    figure.legend(handles=lines, loc="outside lower center", ncols=3)


# Classes, seconds


def balance_chart(labels: np.ndarray, submitted: np.ndarray) -> Markup:
    """Draw how frequent each class is in the training data and in the submission.

    Args:
        labels: (n,) integers 0..9, n at least 1.
        submitted: (m,) integers 0..9, m at least 1.
    """
    train, test = (
        100 * np.bincount(each, minlength=CLASSES) / len(each) for each in (labels, submitted)
    )
    digits = np.arange(CLASSES)

    def fill(figure: Figure) -> dict[str, str]:
        axes = figure.subplots()
        train_bars = {"color": LIGHT["fifth2"], "label": "training labels"}
        test_bars = {"color": LIGHT["front"], "label": "submission", "hatch": "///"}
        axes.bar(digits - 0.2, train, 0.38, **train_bars)
        axes.bar(digits + 0.2, test, 0.38, edgecolor=LIGHT["paper"], linewidth=0, **test_bars)
        axes.set_xticks(digits)
        axes.tick_params(axis="x", length=0)
        axes.grid(axis="x", visible=False)
        axes.set_xlabel("digit")
        axes.set_ylabel("% of the rows")
        figure.legend(loc="outside lower center", ncols=2)
        return {}

    each = (f"{n} {train[n]:.1f} and {test[n]:.1f} %" for n in digits)
    description = f"Classes in the training labels and in the submission: {', '.join(each)}"
    return charts.draw("balance", 3.0, fill, description)


def seconds_chart(seconds: Mapping[str, float]) -> Markup:
    """Draw a bar of the seconds that each thing took.

    Args:
        seconds: what -> seconds.
    """

    def fill(figure: Figure) -> dict[str, str]:
        axes = figure.subplots()
        axes.barh(range(len(seconds)), list(seconds.values()), height=0.6, color=LIGHT["front"])
        total = sum(seconds.values())
        for row, spent in enumerate(seconds.values()):
            text = f"{duration(spent)}, {100 * spent / total:.1f} %" if total else "0 s"
            place = {"xytext": (5, 0), "textcoords": "offset points", "va": "center"}
            axes.annotate(text, (spent, row), **place)
        axes.set_xlim(0, 1.45 * max(seconds.values()) or 1)
        axes.set_ylim(len(seconds) - 0.5, -0.5)
        axes.set_yticks(range(len(seconds)), list(seconds))
        axes.set_xticks([])
        axes.tick_params(length=0)
        axes.grid(False)
        axes.spines[:].set_visible(False)
        return {}

    each = (f"{name} {duration(spent)}" for name, spent in seconds.items())
    description = f"Where the seconds went: {', '.join(each)}"
    return charts.draw("seconds", 0.3 + 0.36 * len(seconds), fill, description)
