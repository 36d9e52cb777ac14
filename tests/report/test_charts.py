import re

import cv2
import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from kaggle_digits.report import charts


def fill(figure):
    axes = figure.subplots()
    axes.plot([1, 2], [3, 4], color=charts.LIGHT["best"], gid="line")
    axes.plot([1], [3], "o", color=charts.LIGHT["paper"], gid="point")
    return {"line": "a <b>", "point": "p"}


def test_chart_is_described_and_its_parts_too():
    svg = charts.draw("mine", 2.0, fill, 'two "lines" & more')
    assert svg.startswith('<svg role="img" aria-label="two &#34;lines&#34; &amp; more"')
    assert '<g id="mine-line" class="part"><title>a &lt;b&gt;</title>' in svg
    assert '<g id="mine-point" class="part"><title>p</title>' in svg
    assert re.findall(r'\bid="(?!mine-)', svg) == []


def test_colours_are_those_of_the_scheme():
    svg = charts.draw("mine", 2.0, fill, "")
    assert "stroke: var(--best)" in svg
    assert "var(--ink)" in svg
    # None is left that would stay when the paper turns dark.
    assert re.findall(r"#[0-9a-f]{6}\b", svg) == []
    assert len(set(charts.LIGHT.values())) == len(charts.LIGHT)


def test_chart_does_not_depend_on_a_users_own_style():
    svg = charts.draw("mine", 2.0, fill, "")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black"}):
        assert charts.draw("mine", 2.0, fill, "") == svg
        assert matplotlib.rcParams["font.size"] == 30


def test_picture_of_a_chart():
    png = charts.picture("mine", 2.0, fill, "two lines")
    assert charts.picture("mine", 2.0, fill, "two lines") == png
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (320, 832, 3)
    assert image[0, 0].tolist() == [254, 254, 254]  # paper


@pytest.mark.parametrize(
    ("accuracies", "scale"),
    [((0.9, 0.99), "function"), ((0.9, 0.95), "linear"), ((0.9, 1.0), "linear")],
)
@pytest.mark.parametrize("which", ["x", "y"])
def test_accuracies_that_are_far_apart_are_drawn_by_their_errors(accuracies, scale, which):
    axes = Figure().subplots()
    charts.scale_accuracies(axes, accuracies, which)
    found = {"x": axes.get_xscale(), "y": axes.get_yscale()}
    assert found == {"x": "linear", "y": "linear"} | {which: scale}


def test_nines_are_in_equal_steps():
    axes = Figure().subplots()
    charts.scale_by_nines(axes, "y")
    places = axes.yaxis.get_transform().transform(np.array([0.9, 0.99, 0.999]))
    np.testing.assert_allclose(places, [1, 2, 3])


def luminance(color):
    """Of WCAG 2."""
    values = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return linear @ (0.2126, 0.7152, 0.0722)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("name", "least"), [("ink", 7), ("best", 4.5), ("front", 4.5), ("other", 3), ("fifth5", 3)]
)
def test_contrast(scheme, name, least):
    one, other = sorted(luminance(charts.PALETTE[each][scheme]) for each in (name, "paper"))
    assert (other + 0.05) / (one + 0.05) >= least
