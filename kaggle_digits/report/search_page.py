"""Record of a search -> one HTML page that needs nothing but a browser."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kaggle_digits.report import tables
from kaggle_digits.report.importance import FEWEST_TRIALS, importance, is_number, spans
from kaggle_digits.results.search_records import (
    HoldoutComparison,
    Objective,
    SearchRecord,
    TrialResult,
)
from kaggle_digits.storage import files

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

CROWDED = 5  # scores and seconds that span more than this factor are drawn on a logarithmic axis
MIB = 2**20

WIDTH = 5.2  # of a picture, inches; the page scales it
MUTED, BLUE, ORANGE, INK = "#8b98a9", "#2563eb", "#d9480f", "#1f2937"
STYLE = {
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # a dollar sign in a setting's name is one
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#cbd5e1",
    "axes.grid": True,
    "axes.formatter.useoffset": False,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#eef2f6",
    "xtick.color": "#cbd5e1",
    "ytick.color": "#cbd5e1",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}

POINT = {"clip_on": False, "marker": "o", "markeredgecolor": "white", "markersize": 7}
# By role or, without one, by status.
LOOKS = {
    "best": POINT | {"color": ORANGE, "markersize": 10},
    "start": POINT | {"color": INK, "marker": "s"},
    "front": POINT | {"color": BLUE},
    "completed": POINT | {"color": MUTED},
    "stopped early": POINT | {"color": "white", "markeredgecolor": MUTED, "markersize": 5},
}
# Where ticks may stand on an axis of logarithms.
ROUND = np.array([digit * 10.0**power for power in range(-6, 7) for digit in (1, 2, 5)])


@dataclass(frozen=True)
class Cell:
    """One cell of the table of all trials.

    Attributes:
        text: what is shown.
        key: what its column is sorted by; None comes last.
    """

    text: str
    key: float | str | None


def _cell(value: float | None, form: str) -> Cell:
    return Cell("\N{EN DASH}" if value is None else format(value, form), value)


def _errors(trial: TrialResult) -> Cell:
    if trial.errors is None:
        return _cell(None, "")
    # Trials may have different numbers of folds: fractions compare, counts do not.
    return Cell(f"{trial.errors:,} / {trial.rows:,}", trial.errors / trial.rows)


def _scaled(value: float | None, unit: float) -> float | None:
    return None if value is None else value / unit


FIGURES: dict[str, Callable[[TrialResult], Cell]] = {
    "folds": lambda t: Cell(f"{t.folds}/{t.folds_planned}", t.folds),
    "errors / rows": _errors,
    "accuracy": lambda t: _cell(t.accuracy, ".5f"),
    "log loss": lambda t: _cell(t.log_loss, ".5f"),
    "seconds per fit": lambda t: _cell(t.seconds_per_fit, ",.1f"),
    "images/s": lambda t: _cell(t.images_per_second, ",.0f"),
    "parameters": lambda t: _cell(t.parameters, ",d"),
    "MFLOP/image": lambda t: _cell(_scaled(t.flops, 1e6), ",.2f"),
    "peak memory, MiB": lambda t: _cell(_scaled(t.peak_memory_bytes, MIB), ",.0f"),
}


# Pictures


def _picture(name: str, height: float, draw: Callable[[Axes], dict[str, str]]) -> Markup:
    """Draw an SVG element.

    Args:
        name: unique on the page; every id in the picture begins with it.
        height: inches.
        draw: fills the axes; returns id of a part -> text that shows where the mouse rests on it.

    Returns:
        The element; the same for the same drawing.
    """
    from markupsafe import Markup, escape
    from matplotlib import style
    from matplotlib.figure import Figure

    # The default first, so that a picture does not depend on a user's own settings.
    with style.context(["default", STYLE | {"svg.hashsalt": name}]):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        titles = draw(figure.subplots())
        svg = _svg(figure)
    for part, title in titles.items():
        svg = svg.replace(f'<g id="{part}">', f'<g id="{part}"><title>{escape(title)}</title>')
    return Markup(re.sub(r'(\bid="|url\(#|href="#)', rf"\1{name}-", svg))


def _svg(figure: Figure) -> str:
    buffer = io.BytesIO()
    without = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=without)
    svg = buffer.getvalue().decode()
    # A page needs no namespaces, and without them it contains no address at all.
    return re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg[svg.index("<svg") :])


def _score_picture(record: SearchRecord) -> Markup | None:
    """Draw the score against seconds a fit; None where there is nothing to draw."""
    roles = _roles(record)
    points = _points(record)
    if not points:
        return None

    def draw(axes: Axes) -> dict[str, str]:
        front = [(t.seconds_per_fit, record.objective.of(t)) for t in record.front()]
        axes.plot(*np.array(front).reshape(-1, 2).T, BLUE, drawstyle="steps-post", linewidth=1.3)
        for number, (trial, seconds, score) in enumerate(points):
            look = LOOKS[next(iter(roles[trial.trial]), trial.status)]
            axes.plot(seconds, score, gid=f"point{number}", **look)
        _lay_out(axes, record.objective, points)
        for trial, seconds, score in points:
            named = [role for role in roles[trial.trial] if role != "front"]
            if named:
                text = f"{' and '.join(named)}: trial {trial.trial}"
                # Away from the other points: nothing is better than the best.
                above = (named[0] == "best") == (record.objective.direction == "max")
                _label(axes, seconds, score, text, above)
        return {f"point{n}": _hover(record, point[0]) for n, point in enumerate(points)}

    return _picture("score", 4.0, draw)


def _points(record: SearchRecord) -> list[tuple[TrialResult, float, float]]:
    """List the points, the most important last: (trial, seconds a fit, score)."""
    roles = _roles(record)
    early = [(t, t.seconds_per_fit, t.objective) for t in record.with_status("stopped early")]
    whole = sorted(record.comparable(), key=lambda t: len(roles[t.trial]))
    points = [*early, *((t, t.seconds_per_fit, record.objective.of(t)) for t in whole)]
    return [point for point in points if None not in point]


def _roles(record: SearchRecord) -> dict[str, list[str]]:
    """Return what is special about each trial, the most important first."""
    best, front, comparable = record.best(), record.front(), record.comparable()
    return {
        trial.trial: [
            *(["best"] if trial is best else []),
            *(["start"] if trial in comparable and _is_start(record, trial) else []),
            *(["front"] if trial in front else []),
        ]
        for trial in record.trials
    }


def _is_start(record: SearchRecord, trial: TrialResult) -> bool:
    return all(value == record.start.get(key) for key, value in trial.settings.items())


def _hover(record: SearchRecord, trial: TrialResult) -> str:
    early = f", forecast {trial.objective:.5f}" if trial.status == "stopped early" else ""
    return (
        f"trial {trial.trial}, {trial.status}: {record.objective.text(trial)}{early}, "
        f"{trial.seconds_per_fit:.1f} s a fit; {tables.changes(record, trial)}"
    )


def _lay_out(
    axes: Axes, objective: Objective, points: Sequence[tuple[TrialResult, float, float]]
) -> None:
    """Choose scales that keep points apart, and name the axes."""
    axes.set_xlabel("seconds per fit")
    is_log_loss = objective is Objective.LOG_LOSS
    axes.set_ylabel(objective.label + (", nats (low is good)" if is_log_loss else ""))
    axes.margins(0.1, 0.15)
    _, seconds, scores = zip(*points, strict=True)
    if spans(seconds, CROWDED):
        axes.set_xscale("log")
        _set_ticks(axes.xaxis, ROUND)
    if is_log_loss and spans(scores, CROWDED):
        axes.set_yscale("log")
        _set_ticks(axes.yaxis, ROUND)
    if not is_log_loss and spans(1 - np.array(scores), CROWDED):
        # The error rate is what counts: from 0.98 to 0.99 is as far as from 0.8 to 0.9.
        axes.set_yscale("function", functions=(lambda y: -_log10(1 - y), lambda y: 1 - 10**-y))
        _set_ticks(axes.yaxis, 1 - ROUND)
    axes.autoscale_view()
    if not is_log_loss:
        axes.set_ylim(top=min(1, axes.get_ylim()[1]))


def _log10(numbers: np.ndarray) -> np.ndarray:
    return np.log10(np.maximum(numbers, np.finfo(float).tiny))


def _set_ticks(axis: Axis, ticks: np.ndarray) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: f"{value:g}")


def _label(axes: Axes, x: float, y: float, text: str, above: bool) -> None:
    """Write a text beside a point, towards the middle of the picture."""
    left_half = (axes.transScale + axes.transLimits).transform((x, y))[0] < 0.5
    axes.annotate(
        text,
        (x, y),
        xytext=(2 if left_half else -2, 9 if above else -9),
        textcoords="offset points",
        ha="left" if left_half else "right",
        va="bottom" if above else "top",
        weight="bold",
    )


def _importance_picture(fractions: dict[str, float]) -> Markup:
    """Draw a bar a setting, its name above it: names are long, and phones narrow."""

    def draw(axes: Axes) -> dict[str, str]:
        axes.barh(range(len(fractions)), list(fractions.values()), height=0.3, color=BLUE)
        for row, (key, fraction) in enumerate(fractions.items()):
            axes.annotate(key, (0, row - 0.25), va="bottom")
            place = {"xytext": (5, 0), "textcoords": "offset points", "va": "center"}
            axes.annotate(f"{100 * fraction:.0f} %", (fraction, row), **place)
        axes.set_xlim(0, 1.1 * max(fractions.values()))
        axes.set_ylim(len(fractions) - 0.5, -0.8)
        axes.set_axis_off()
        return {}

    return _picture("importance", 0.2 + 0.5 * len(fractions), draw)


# The page


def page(record: SearchRecord, title: str) -> str:
    """Show what a search has found as one HTML page that needs nothing from elsewhere.

    Args:
        record: what has been found so far.
        title: the page's heading, plain text.

    Returns:
        The page; the same for the same record.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("kaggle_digits.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    fractions, roles = importance(record), _roles(record)
    rows = [(trial, roles[trial.trial], _row(record, trial)) for trial in record.trials]
    columns = zip(*(cells for *_, cells in rows), strict=True)
    return environment.get_template("search.html").render(
        title=title,
        sentences=list(_sentences(record)),
        facts={"trials": record.counts() or "none yet"} | record.facts,
        score_picture=_score_picture(record),
        importance_picture=_importance_picture(fractions) if fractions else None,
        fewest=FEWEST_TRIALS,
        best=record.best(),
        settings=list(_settings(record)),
        looks=LOOKS,
        headings=["trial", "status", *record.keys, *FIGURES],
        numeric=[False, False, *(not any(isinstance(c.key, str) for c in col) for col in columns)],
        rows=rows,
    )


def _sentences(record: SearchRecord) -> Iterator[str]:
    """Yield what was found, a sentence each."""
    best = record.best()
    if not best:
        yield "No trial is completed yet, so there is nothing to compare."
        return
    score = record.objective.text(best)
    if record.objective is Objective.LOG_LOSS:
        score += f" ({best.errors:,} of {best.rows:,} wrong)"
    yield (
        f"The best is trial {best.trial}: {score} on the folds of the search, which is optimistic, "
        "because it was picked by them."
    )
    if record.check:
        yield _comparison(record.check, "the start")
    for name, comparison in record.against.items():
        yield _comparison(comparison, name)
    if record.check or record.against:
        yield tables.SCOPE


def _comparison(found: HoldoutComparison, name: str) -> str:
    """Write how the best compares on rows that no trial has seen."""
    folds = f"fold{'s' * (len(found.folds) > 1)} {', '.join(map(str, found.folds))}"
    return (
        f"On the holdout {folds} it predicts {found.best.errors:,} of {found.best.rows:,} rows "
        f"wrongly, {name} {found.reference.errors:,}: {tables.verdict(found)} "
        f"(p = {found.p_value:.2g}, McNemar's exact test; {found.only_reference_wrong:,} rows that "
        f"only {name} gets wrong, {found.only_best_wrong:,} that only the best gets wrong)."
    )


def _settings(record: SearchRecord) -> Iterator[tuple[str, str, str, bool]]:
    """Yield (key, value of the start, value of the best, whether they differ)."""
    best = record.best()
    for key in record.keys if best else ():
        start = record.start.get(key)
        if key in best.settings:
            value = best.settings[key]
            yield key, tables.text_of(start), tables.text_of(value), value != start
        else:
            yield key, tables.text_of(start), "not in force", False


def _row(record: SearchRecord, trial: TrialResult) -> list[Cell]:
    """Make a trial's cells, without those of its id and status."""
    settings = (_setting(trial.settings.get(key)) for key in record.keys)
    return [*settings, *(make(trial) for make in FIGURES.values())]


def _setting(value: Any) -> Cell:
    if value is None:
        return _cell(None, "")
    text = tables.text_of(value)
    return Cell(text, value if is_number(value) else text)


def write_page(record: SearchRecord, title: str, path: Path) -> None:
    """Write the page of `page` whole or not at all.

    Raises:
        UserError: it cannot be written.
    """
    files.write_bytes(path, page(record, title).encode())
