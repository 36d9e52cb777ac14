"""Record of a search -> the charts of its page."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from kaggle_digits.report import charts
from kaggle_digits.report.charts import CROWDED, FIFTHS, LIGHT, spans
from kaggle_digits.report.importance import is_number
from kaggle_digits.report.search_tables import changes, short_names, text_of
from kaggle_digits.results.search_records import Objective, SearchRecord, TrialResult, best
from kaggle_digits.system.console import count_of

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLOSE = 2  # the same for the parallel coordinates, where only the order and the ends are read
MOST_CHOICES = 6  # of a setting that are all named in the parallel coordinates
LONGEST_NAME = 24  # characters of a setting's name beside an axis

POINT = {"clip_on": False, "marker": "o", "markeredgecolor": LIGHT["paper"], "markersize": 7}
MISSED = {"clip_on": False, "color": LIGHT["other"], "markersize": 6, "markeredgewidth": 1.5}
# By role or, without one, by status; each has a shape of its own, for those who see no colours.
LOOKS = {
    "best": POINT | {"color": LIGHT["best"], "marker": "*", "markersize": 15},
    "start": POINT | {"color": LIGHT["ink"], "marker": "s"},
    "front": POINT | {"color": LIGHT["front"], "marker": "D", "markersize": 6},
    "completed": POINT | {"color": LIGHT["other"]},
    "stopped early": POINT
    | {"color": LIGHT["paper"], "markeredgecolor": LIGHT["other"], "marker": "v"},
    "failed": MISSED | {"marker": "x"},
    "out of bounds": MISSED | {"marker": "+", "markersize": 8},
}


def roles(record: SearchRecord) -> dict[str, list[str]]:
    """Return what is special about each trial, by its id, the most important first."""
    the_best, front, comparable = record.best(), record.front(), record.comparable()
    return {
        trial.trial: [
            *(["best"] if trial is the_best else []),
            *(["start"] if trial in comparable and _is_start(record, trial) else []),
            *(["front"] if trial in front else []),
        ]
        for trial in record.trials
    }


def _is_start(record: SearchRecord, trial: TrialResult) -> bool:
    return all(value == record.start.get(key) for key, value in trial.settings.items())


def _hover(record: SearchRecord, trial: TrialResult) -> str:
    """Write what shows where the mouse rests on a trial."""
    parts = [f"trial {trial.trial}, {trial.status}"]
    if trial.errors is not None:
        forecast = trial.status == "stopped early" and trial.objective is not None
        early = f", forecast {trial.objective:.5f}" if forecast else ""
        cost = f", {trial.seconds_per_fit:,.1f} s per fit" if trial.seconds_per_fit else ""
        parts.append(f"{record.objective.text(trial)}{early}{cost}")
    if trial.reason and trial.errors is None:
        parts.append(trial.reason)
    return f"{': '.join(parts)}; {changes(record, trial)}"


def _figure_of(record: SearchRecord, trial: TrialResult) -> float | None:
    """Return a trial's figure on all folds; of one that was stopped early its forecast."""
    early = trial.status == "stopped early"
    return trial.objective if early else record.objective.of(trial)


# Score against cost


def cost_chart(record: SearchRecord) -> Markup | None:
    """Draw the score against seconds per fit; None where there is nothing to draw."""
    special, points = roles(record), _points(record)
    if not points:
        return None

    def fill(figure: Figure) -> dict[str, str]:
        axes = figure.subplots()
        front = [(t.seconds_per_fit, record.objective.of(t)) for t in record.front()]
        steps = {"drawstyle": "steps-post", "linewidth": 1.3}
        axes.plot(*np.array(front).reshape(-1, 2).T, LIGHT["front"], **steps)
        for number, (trial, seconds, score) in enumerate(points):
            look = LOOKS[next(iter(special[trial.trial]), trial.status)]
            axes.plot(seconds, score, gid=f"point{number}", **look)
        axes.set_xlabel("seconds per fit")
        axes.margins(0.1, 0.15)
        _, seconds, scores = zip(*points, strict=True)
        if spans(seconds, CROWDED):
            axes.set_xscale("log")
            charts.set_ticks(axes.xaxis, charts.ROUND)
        _scale_scores(axes, record.objective, scores)
        for trial, seconds, score in points:
            named = [role for role in special[trial.trial] if role != "front"]
            if named:
                text = f"{' and '.join(named)}: trial {trial.trial}"
                # Away from the other points: nothing is better than the best.
                above = (named[0] == "best") == (record.objective.direction == "max")
                _label(axes, seconds, score, text, above)
        return {f"point{n}": _hover(record, point[0]) for n, point in enumerate(points)}

    front = ", ".join(t.trial for t in record.front())
    description = (
        f"{record.objective.label} against seconds per fit of {count_of(len(points), 'trial')}; "
        f"no other trial is both better and faster than {front or 'none'}"
    )
    return charts.draw("score", 3.7, fill, description)


def _points(record: SearchRecord) -> list[tuple[TrialResult, float, float]]:
    """List the points, the most important last: (trial, seconds per fit, score)."""
    special = roles(record)
    early = record.with_status("stopped early")
    whole = sorted(record.comparable(), key=lambda t: len(special[t.trial]))
    points = [(t, t.seconds_per_fit, _figure_of(record, t)) for t in (*early, *whole)]
    return [point for point in points if None not in point]


def _scale_scores(axes: Axes, objective: Objective, scores: Sequence[float]) -> None:
    """Choose a scale that keeps scores apart, and name the axis."""
    is_log_loss = objective is Objective.LOG_LOSS
    axes.set_ylabel(objective.label + (", nats (low is good)" if is_log_loss else ""))
    if is_log_loss and spans(scores, CROWDED):
        axes.set_yscale("log")
        charts.set_ticks(axes.yaxis, charts.ROUND)
    if not is_log_loss:
        charts.scale_accuracies(axes, scores)
    axes.autoscale_view()
    if not is_log_loss:
        axes.set_ylim(top=min(1, axes.get_ylim()[1]))


def _label(axes: Axes, x: float, y: float, text: str, above: bool) -> None:
    """Write a text beside a point, towards the middle of the chart."""
    left_half = (axes.transScale + axes.transLimits).transform((x, y))[0] < 0.5
    axes.annotate(
        text,
        (x, y),
        xytext=(2 if left_half else -2, 10 if above else -10),
        textcoords="offset points",
        ha="left" if left_half else "right",
        va="bottom" if above else "top",
        weight="bold",
    )


# Progress


def progress_chart(record: SearchRecord) -> Markup | None:
    """Draw each trial's figure by its number, and the best so far; None without a figure."""
    figures = [_figure_of(record, trial) for trial in record.trials]
    known = [figure for figure in figures if figure is not None]
    if not known:
        return None
    the_best = record.best()

    def fill(figure: Figure) -> dict[str, str]:
        axes = figure.subplots()
        steps = {"drawstyle": "steps-post", "linewidth": 1.3, "gid": "best-so-far"}
        axes.plot(*_best_so_far(record), LIGHT["best"], **steps)
        for number, (trial, score) in enumerate(zip(record.trials, figures, strict=True)):
            look = LOOKS.get("best" if trial is the_best else trial.status, LOOKS["completed"])
            if score is not None:
                axes.plot(number, score, gid=f"trial{number}", **look)
            elif trial.status != "running":  # at the foot
                place = axes.get_xaxis_transform()
                axes.plot(number, 0.03, gid=f"trial{number}", transform=place, **look)
        axes.set_xlabel("trial, in the order in which they began")
        axes.margins(0.05, 0.15)
        axes.xaxis.get_major_locator().set_params(integer=True)
        _scale_scores(axes, record.objective, known)
        if the_best:
            above = record.objective.direction == "max"
            place = record.trials.index(the_best), record.objective.of(the_best)
            _label(axes, *place, f"best: trial {the_best.trial}", above)
        return {f"trial{n}": _hover(record, trial) for n, trial in enumerate(record.trials)}

    trials = count_of(len(record.trials), "trial")
    description = f"{record.objective.label} of {trials} in their order"
    if the_best:
        description += f"; the best is trial {the_best.trial}, {record.objective.text(the_best)}"
    return charts.draw("progress", 3.7, fill, description)


def _best_so_far(record: SearchRecord) -> tuple[list[int], list[float]]:
    """Return (numbers of trials, the best figure up to each), from the first completed one on."""
    leaders = [best(record.trials[: n + 1], record.objective) for n in range(len(record.trials))]
    pairs = [(n, record.objective.of(t)) for n, t in enumerate(leaders) if t]
    return [n for n, _ in pairs], [figure for _, figure in pairs]


# Parallel coordinates


def parallel_chart(record: SearchRecord) -> Markup | None:
    """Draw a line for each scored trial through the values of its settings, down to its figure.

    The axes lie: names of settings are long, and phones narrow. An axis is logarithmic where the
    search samples it so. Lines are the stronger the better their trials are, in fifths.

    Returns:
        The chart; None where fewer than two trials have a figure.
    """
    trials = sorted(record.scored(), key=lambda t: t.objective)
    if record.objective.direction == "min":
        trials.reverse()
    if len(trials) < 2:
        return None
    the_best, names = record.best(), short_names(record.keys)

    def fill(figure: Figure) -> dict[str, str]:
        axes = figure.subplots()
        scores = np.array([trial.objective for trial in trials])
        rows = [_places([t.settings.get(k) for t in trials], k in record.log_keys) for k in names]
        rows.append(_score_places(scores, record.objective))
        labels = [*(name[-LONGEST_NAME:] for name in names.values()), record.objective.label]
        heights = np.arange(len(rows))
        axes.hlines(heights, 0, 1, color=LIGHT["edge"], linewidth=1)
        for row, (_, ticks) in enumerate(rows):
            for place, text in ticks:
                ha = "left" if place == 0 else "right" if place == 1 else "center"
                axes.annotate(
                    text, (place, row + 0.16), ha=ha, va="top", fontsize=8, bbox=charts.PLATE
                )
        for number, trial in enumerate(trials):
            fifth = min(5 * number // len(trials), 4)
            look = {"color": FIFTHS[fifth], "linewidth": 0.9 + 0.25 * fifth}
            if the_best and trial.candidate == the_best.candidate:
                look = {"color": LIGHT["best"], "linewidth": 2.6, "marker": "o", "markersize": 5}
            places = [of_trials[number] for of_trials, _ in rows]
            axes.plot(places, heights, gid=f"line{number}", clip_on=False, **look)
        axes.set_yticks(heights, labels)
        axes.set_ylim(len(rows) - 0.45, -0.25)
        axes.set_xlim(-0.02, 1.02)
        axes.set_xticks([])
        axes.tick_params(length=0)
        axes.grid(False)
        axes.spines[:].set_visible(False)
        return {f"line{n}": _hover(record, trial) for n, trial in enumerate(trials)}

    found = f"; the best, trial {the_best.trial}, has {_values(the_best)}" if the_best else ""
    description = (
        f"Parallel coordinates: {count_of(len(record.keys), 'setting')} and the "
        f"{record.objective.label} of {count_of(len(trials), 'trial')}{found}. The table of all "
        "trials has the same values."
    )
    return charts.draw("parallel", 0.3 + 0.52 * (len(record.keys) + 1), fill, description)


def _values(trial: TrialResult) -> str:
    return ", ".join(f"{key} {text_of(value)}" for key, value in trial.settings.items())


def _places(values: Sequence[Any], is_log: bool) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Place a setting's values on an axis.

    Args:
        values: of the trials; None: not in force.
        is_log: whether numbers are placed by their logarithms.

    Returns:
        (places in 0..1, not a number where not in force; (place, text) of each tick).
    """
    there = [value for value in values if value is not None]
    if there and all(map(is_number, there)):
        numbers = np.array([np.nan if value is None else value for value in values], float)
        low, high = min(there), max(there)
        if is_log and low > 0:
            numbers, ends = np.log(numbers), np.log([low, high])
        else:
            ends = np.array([low, high], float)
        if low == high:
            return numbers - ends[0] + 0.5, [(0.5, text_of(low))]
        ticks = [(0.0, text_of(low)), (1.0, text_of(high))]
        return (numbers - ends[0]) / (ends[1] - ends[0]), ticks
    texts = [None if value is None else text_of(value) for value in values]
    choices = sorted({text for text in texts if text is not None})
    spread = np.linspace(0, 1, len(choices)) if choices[1:] else [0.5] * len(choices)
    place = dict(zip(choices, spread, strict=True))
    shown = choices if len(choices) <= MOST_CHOICES else [choices[0], choices[-1]]
    ticks = [(float(place[text]), text[:LONGEST_NAME]) for text in shown]
    return np.array([place.get(text, np.nan) for text in texts]), ticks


def _score_places(
    scores: np.ndarray, objective: Objective
) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Place figures on an axis, far ones by the logarithm of the error, the best at the right."""
    losses = 1 - scores if objective is Objective.ACCURACY else scores
    best_loss, worst_loss = losses.min(), losses.max()
    if best_loss == worst_loss:
        return np.full(len(scores), 0.5), [(0.5, f"{scores[0]:.5f}")]
    if spans(losses, CLOSE):
        losses = np.log(losses)
    places = (losses.max() - losses) / np.ptp(losses)
    ends = scores[places.argmin()], scores[places.argmax()]
    return places, [(float(place), f"{end:.5f}") for place, end in enumerate(ends)]


# Learning curves


def curves_chart(record: SearchRecord) -> Markup | None:
    """Draw how the fits of the best trial learned; None where that is not known."""
    curves = {name: curve for name, curve in record.curves.items() if curve.loss}
    if not curves:
        return None

    def fill(figure: Figure) -> dict[str, str]:
        above, below = figure.subplots(2, sharex=True)
        lines = cycle(("-", "--", ":", "-."))
        marks = cycle("osD^vP")
        colors = cycle((LIGHT["front"], LIGHT["best"], LIGHT["other"], LIGHT["ink"]))
        for name, curve in curves.items():
            look = {"linestyle": next(lines), "marker": next(marks), "color": next(colors)}
            look |= {"linewidth": 1.5, "markersize": 4, "label": name.replace("-fold", ", fold ")}
            for axes, values in ((above, curve.loss), (below, curve.accuracy)):
                axes.plot(range(1, len(values) + 1), values, clip_on=False, **look)
        above.set_ylabel("loss")
        below.set_ylabel("accuracy")
        below.set_xlabel("epoch")
        below.xaxis.get_major_locator().set_params(integer=True)
        figure.legend(*below.get_legend_handles_labels(), loc="outside lower center", ncols=3)
        return {}

    last = [curve.accuracy[-1] for curve in curves.values()]
    description = (
        f"Training loss and accuracy by epoch of {count_of(len(curves), 'fit')} of the best trial; "
        f"accuracy at the end {min(last):.5f} to {max(last):.5f}"
    )
    return charts.draw("curves", 4.0, fill, description)


# Importance


def importance_chart(fractions: dict[str, float], is_rough: bool) -> Markup:
    """Draw a bar for each setting, its name above it: names are long, and phones narrow.

    Args:
        fractions: config key -> how much it matters, most important first.
        is_rough: whether trials can hardly be told apart: figures would be noise, and are words.
    """

    def text_of_fraction(fraction: float) -> str:
        if not is_rough:
            return f"{100 * fraction:.0f} %"
        return "much" if fraction >= 1 / 2 else "some" if fraction >= 1 / 10 else "little, if any"

    def fill(figure: Figure) -> dict[str, str]:
        axes = figure.subplots()
        color = LIGHT["other" if is_rough else "front"]
        axes.barh(range(len(fractions)), list(fractions.values()), height=0.3, color=color)
        for row, (key, fraction) in enumerate(fractions.items()):
            axes.annotate(key, (0, row - 0.25), va="bottom")
            place = {"xytext": (5, 0), "textcoords": "offset points", "va": "center"}
            axes.annotate(text_of_fraction(fraction), (fraction, row), **place)
        axes.set_xlim(0, 1.15 * max(fractions.values()))
        axes.set_ylim(len(fractions) - 0.5, -0.8)
        axes.set_axis_off()
        return {}

    each = (f"{key} {text_of_fraction(fraction)}" for key, fraction in fractions.items())
    description = f"Importance of the settings: {', '.join(each)}"
    return charts.draw("importance", 0.2 + 0.5 * len(fractions), fill, description)
