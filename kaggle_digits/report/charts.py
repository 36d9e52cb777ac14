"""What all charts of a page have in common: how they look, light and dark, and how they become SVG.

Colours are those of `PALETTE`; in the SVG they are CSS variables, which the page sets for either
scheme. No chart needs colour alone to be read.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

WIDTH = 5.2  # of a chart, inches; the page scales it
PICTURE_DPI = 160
CROWDED = 5  # figures that span more than this factor are drawn on a logarithmic axis

# CSS variable -> (its value on light paper, on dark paper). Charts are drawn with the first.
PALETTE = {
    "ink": ("#1f2937", "#e6ebf2"),
    "paper": ("#fefefe", "#10161f"),
    "edge": ("#cbd5e1", "#465366"),
    "grid": ("#eef2f6", "#1e2733"),
    "other": ("#8391a5", "#8593a8"),
    "front": ("#2563eb", "#78aefc"),
    "best": ("#d1440c", "#ff9a57"),
    # How good a trial is, the worst fifth first.
    "fifth1": ("#dbe2ec", "#2c3849"),
    "fifth2": ("#bccbe4", "#37506f"),
    "fifth3": ("#93afe3", "#456a9b"),
    "fifth4": ("#5f8ce6", "#5a8bd0"),
    "fifth5": ("#2a66ea", "#7fb2fd"),
}
LIGHT = {name: light for name, (light, _) in PALETTE.items()}
FIFTHS = [light for name, light in LIGHT.items() if name.startswith("fifth")]

STYLE = {
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # a dollar sign in a setting's name is one
    "font.size": 10,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "text.color": LIGHT["ink"],
    "axes.labelcolor": LIGHT["ink"],
    "axes.edgecolor": LIGHT["edge"],
    "axes.grid": True,
    "axes.formatter.useoffset": False,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": LIGHT["grid"],
    "xtick.color": LIGHT["edge"],
    "ytick.color": LIGHT["edge"],
    "xtick.labelcolor": LIGHT["ink"],
    "ytick.labelcolor": LIGHT["ink"],
    "legend.frameon": False,
}
# Behind a text that lines may cross.
PLATE = {"boxstyle": "square,pad=0.1", "facecolor": LIGHT["paper"], "edgecolor": "none"}
# Where ticks may stand on an axis of logarithms.
ROUND = np.array([digit * 10.0**power for power in range(-6, 7) for digit in (1, 2, 5)])

Fill = Callable[["Figure"], dict[str, str]]


def draw(name: str, height: float, fill: Fill, description: str) -> Markup:
    """Draw an SVG element.

    Args:
        name: unique on the page; every id in the chart begins with it.
        height: inches.
        fill: fills the figure; returns id of a part -> text that shows where the mouse rests on it.
        description: what the chart shows, for those who do not see it.

    Returns:
        The element; the same for the same drawing.
    """
    from markupsafe import Markup, escape

    with _own_style(name):
        figure = _figure(height)
        titles = fill(figure)
        svg = _svg(figure)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\1{name}-", svg)
    for variable, color in LIGHT.items():
        svg = svg.replace(color, f"var(--{variable})")
    for part, title in titles.items():
        begin = f'<g id="{name}-{part}"'
        svg = svg.replace(f"{begin}>", f'{begin} class="part"><title>{escape(title)}</title>')
    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{escape(description)}" ', 1))


def picture(name: str, height: float, fill: Fill, description: str) -> bytes:
    """Draw a PNG file on light paper; takes what `draw` takes.

    Returns:
        The file; the same for the same drawing.
    """
    with _own_style(name):
        figure = _figure(height)
        fill(figure)
        figure.set_facecolor(LIGHT["paper"])
        buffer = io.BytesIO()
        written = {"Software": None, "Description": description}
        figure.savefig(buffer, format="png", dpi=PICTURE_DPI, metadata=written)
    return buffer.getvalue()


def _own_style(name: str) -> AbstractContextManager[None]:
    from matplotlib import style

    # The default first, so that a chart does not depend on a user's own settings.
    return style.context(["default", STYLE | {"svg.hashsalt": name}])


def _figure(height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), layout="constrained")


def _svg(figure: Figure) -> str:
    buffer = io.BytesIO()
    without = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=without)
    svg = buffer.getvalue().decode()
    # A page needs no namespaces, and without them it contains no address at all.
    return re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg[svg.index("<svg") :])


def set_ticks(axis: Axis, ticks: np.ndarray) -> None:
    """Put ticks at some places and nowhere else."""
    from matplotlib.ticker import FixedLocator, NullLocator

    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: f"{value:g}")


def scale_accuracies(
    axes: Axes, accuracies: Sequence[float] | np.ndarray, which: Literal["x", "y"] = "y"
) -> None:
    """Choose a scale that keeps accuracies apart.

    Args:
        axes: what they are drawn in.
        accuracies: 0..1.
        which: the axis that they are drawn along.
    """
    if spans(1 - np.asarray(accuracies), CROWDED):
        # The error rate is what counts: from 0.98 to 0.99 is as far as from 0.8 to 0.9.
        scale_by_nines(axes, which)


def scale_by_nines(axes: Axes, which: Literal["x", "y"]) -> None:
    """Draw accuracies by the logarithm of the error rate: 0.9, 0.99, 0.999 in equal steps."""
    set_scale = {"x": axes.set_xscale, "y": axes.set_yscale}[which]
    set_scale("function", functions=(lambda x: -log10(1 - x), lambda y: 1 - 10**-y))
    set_ticks(getattr(axes, f"{which}axis"), 1 - ROUND)


def spans(numbers: Sequence[float] | np.ndarray, factor: float) -> bool:
    """Return whether numbers are positive and span more than a factor."""
    return min(numbers) > 0 and max(numbers) > factor * min(numbers)


def log10(numbers: np.ndarray) -> np.ndarray:
    """Return logarithms; of zero and below that of the smallest number."""
    return np.log10(np.maximum(numbers, np.finfo(float).tiny))
