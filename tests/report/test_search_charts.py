from dataclasses import replace

import numpy as np
import pytest
from found import FRONT, START, WHOLE, failed, search, trial

from kaggle_digits.report import charts, search_charts
from kaggle_digits.report.charts import FIFTHS, LIGHT
from kaggle_digits.report.search_charts import LOOKS
from kaggle_digits.results.search_records import Objective


@pytest.fixture
def drawn(monkeypatch):
    """Return a function that draws a chart and returns its axes."""
    figures = []
    monkeypatch.setattr(charts, "_svg", lambda figure: figures.append(figure) or "<svg />")

    def draw(make, *arguments):
        make(*arguments)
        return figures[-1].axes

    return draw


def titles_of(monkeypatch, make, record):
    """Return id of a part -> what shows where the mouse rests on it, and the description."""
    told = []

    def draw(name, height, fill, description):
        from matplotlib.figure import Figure

        told.append((fill(Figure()), description))

    monkeypatch.setattr(charts, "draw", draw)
    make(record)
    return told[0]


# Score against cost


def test_front_is_a_step_line_through_its_points(drawn):
    (axes,) = drawn(search_charts.cost_chart, FRONT)
    line, *points = axes.lines
    assert line.get_drawstyle() == "steps-post"
    np.testing.assert_allclose(line.get_xydata(), [(1, 0.95), (2, 0.96), (4, 0.98)])
    found = {point.get_gid(): (*point.get_xydata()[0], point.get_color()) for point in points}
    assert len(found) == 7  # all but the failed one
    assert found["point0"] == (1.5, 0.93, LIGHT["paper"])  # stopped early, at its forecast
    assert (3.0, pytest.approx(0.91), LOOKS["start"]["color"]) in found.values()
    assert (4.0, pytest.approx(0.98), LOOKS["best"]["color"]) in found.values()
    assert (9.0, pytest.approx(0.98), LOOKS["completed"]["color"]) in found.values()
    labels = [(text.get_text(), text.get_va(), text.get_ha()) for text in axes.texts]
    # Best above, start below; both towards the middle of the chart.
    assert labels == [("start: trial 0", "top", "left"), ("best: trial 4", "bottom", "right")]


@pytest.mark.parametrize("make", [search_charts.cost_chart, search_charts.progress_chart])
@pytest.mark.parametrize(
    ("objective", "errors", "scale"),
    [
        ("accuracy", (10, 50), "linear"),
        ("accuracy", (10, 51), "function"),
        ("accuracy", (0, 900), "linear"),  # no error has no logarithm
        ("log_loss", (10, 50), "linear"),
        ("log_loss", (10, 51), "log"),
    ],
)
def test_scores_far_apart_are_drawn_by_their_factors(drawn, make, objective, errors, scale):
    trials = [trial(number, each) for number, each in enumerate(errors)]
    (axes,) = drawn(make, search(*trials, objective=objective))
    assert axes.get_yscale() == scale
    assert axes.get_ylim()[1] <= 1 or objective == "log_loss"


def test_points_say_what_they_are(monkeypatch):
    titles, description = titles_of(monkeypatch, search_charts.cost_chart, FRONT)
    assert titles["point0"] == (
        "trial 6, stopped early: 0.97000 (30 of 1,000 wrong), forecast 0.93000, 1.5 s per fit; "
        "model.width=14"
    )
    assert titles["point6"].startswith(
        "trial 4, completed: 0.98000 (20 of 1,000 wrong), 4.0 s per fit; "
    )
    assert description == (
        "accuracy against seconds per fit of 7 trials; no other trial is both better and faster "
        "than 1, 2, 4"
    )


def test_shapes_tell_kinds_of_trials_apart():
    assert len({look["marker"] for look in LOOKS.values()}) == len(LOOKS)


# Progress


def test_progress_shows_every_trial_and_the_best_so_far(drawn):
    (axes,) = drawn(search_charts.progress_chart, FRONT)
    best, *points = axes.lines
    assert best.get_gid() == "best-so-far"
    assert best.get_drawstyle() == "steps-post"
    figures = [0.91, 0.95, 0.96, 0.96, 0.98, 0.98, 0.98, 0.98]
    np.testing.assert_allclose(best.get_xydata(), list(enumerate(figures)))
    found = {point.get_gid(): (*point.get_xydata()[0], point.get_marker()) for point in points}
    assert found["trial3"] == (3, pytest.approx(0.955), "o")
    assert found["trial4"] == (4, pytest.approx(0.98), "*")
    assert found["trial6"] == (6, pytest.approx(0.93), "v")  # at its forecast
    assert found["trial7"] == (7, 0.03, "x")  # it has no figure: at the foot of the chart
    assert len(found) == 8
    assert [text.get_text() for text in axes.texts] == ["best: trial 4"]


def test_progress_of_trials_on_ever_more_folds(drawn):
    # Of hyperband: figures on more folds count, even where they are worse.
    promoted = trial(2, 30, candidate="candidate0", folds=2)
    record = search(trial(0, 20, folds=1), trial(1, 25, folds=1), promoted)
    (axes,) = drawn(search_charts.progress_chart, record)
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [(0, 0.98), (1, 0.98), (2, 0.97)])


def test_progress_is_described(monkeypatch):
    titles, description = titles_of(monkeypatch, search_charts.progress_chart, FRONT)
    assert description == (
        "accuracy of 8 trials in their order; the best is trial 4, 0.98000 (20 of 1,000 wrong)"
    )
    assert titles["trial7"].startswith("trial 7, failed: first-fold1 diverged; ")


def test_nothing_to_draw():
    for record in (search(), search(failed(0))):
        assert search_charts.progress_chart(record) is None
        assert search_charts.cost_chart(record) is None
        assert search_charts.parallel_chart(record) is None
        assert search_charts.curves_chart(record) is None
    assert search_charts.parallel_chart(search(trial(0))) is None


# Parallel coordinates


@pytest.mark.parametrize(
    ("values", "is_log", "places", "ticks"),
    [
        ([1, 3, 2], False, [0, 1, 0.5], [(0, "1"), (1, "3")]),
        ([0.001, 0.1, 0.01], True, [0, 1, 0.5], [(0, "0.001"), (1, "0.1")]),
        ([0.0, 1.0, 0.25], True, [0, 1, 0.25], [(0, "0"), (1, "1")]),  # no logarithm of 0
        ([5, None, 15], False, [0, np.nan, 1], [(0, "5"), (1, "15")]),  # not in force
        ([0.5, 0.5], False, [0.5, 0.5], [(0.5, "0.5")]),
        ([2, 2], True, [0.5, 0.5], [(0.5, "2")]),
        (["sgd", "adamw", None], False, [1, 0, np.nan], [(0, "adamw"), (1, "sgd")]),
        (["sgd", "sgd"], False, [0.5, 0.5], [(0.5, "sgd")]),
        ([True, False], False, [1, 0], [(0, "False"), (1, "True")]),
        ([[-5.0, 5.0], 3], False, [1, 0], [(0, "3"), (1, "[-5.0, 5.0]")]),
        ([None], False, [np.nan], []),
    ],
)
def test_values_have_their_places(values, is_log, places, ticks):
    found, texts = search_charts._places(values, is_log)
    np.testing.assert_allclose(found, places, atol=1e-12)
    assert texts == ticks


def test_of_many_choices_only_the_ends_are_named():
    _, ticks = search_charts._places(list("abcdefgh"), False)
    assert ticks == [(0, "a"), (1, "h")]


@pytest.mark.parametrize(
    ("objective", "scores", "places", "ends"),
    [
        ("accuracy", [0.5, 0.75, 0.6], [0, 1, 0.4], ["0.50000", "0.75000"]),
        # Errors of 0.1, 0.01 and 0.001 are equally far from each other.
        ("accuracy", [0.9, 0.99, 0.999], [0, 0.5, 1], ["0.90000", "0.99900"]),
        ("log_loss", [0.5, 0.3, 0.4], [0, 1, 0.5], ["0.50000", "0.30000"]),
        ("accuracy", [0.5, 0.5], [0.5, 0.5], ["0.50000"]),
    ],
)
def test_the_best_score_is_at_the_right(objective, scores, places, ends):
    found, ticks = search_charts._score_places(np.array(scores), Objective(objective))
    np.testing.assert_allclose(found, places, atol=1e-12)
    assert [text for _, text in ticks] == ends


def test_a_line_for_each_trial_and_the_best_in_front(drawn):
    settings = [START | {"train.learning_rate": rate} for rate in (0.001, 0.1, 0.01)]
    trials = [
        trial(number, errors, settings=each)
        for number, (errors, each) in enumerate(zip((30, 40, 20), settings, strict=True))
    ]
    record = search(*trials, failed(3), log_keys=("train.learning_rate",))
    (axes,) = drawn(search_charts.parallel_chart, record)
    lines = [line for line in axes.lines if line.get_gid()]
    assert [line.get_gid() for line in lines] == ["line0", "line1", "line2"]
    rates = [line.get_xdata()[0] for line in lines]
    np.testing.assert_allclose(rates, [1, 0, 0.5], atol=1e-12)  # worst trial first
    assert [line.get_color() for line in lines] == [FIFTHS[0], FIFTHS[1], LIGHT["best"]]
    assert lines[-1].get_linewidth() > lines[0].get_linewidth()
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        *("learning_rate", "width", "optimizer", "accuracy")
    ]


def test_parallel_coordinates_are_described(monkeypatch):
    titles, description = titles_of(monkeypatch, search_charts.parallel_chart, FRONT)
    assert description.startswith(
        "Parallel coordinates: 3 settings and the accuracy of 7 trials; the best, trial 4, has "
        "train.learning_rate 0.001, model.width 12, train.optimizer adamw."
    )
    assert len(titles) == 7


# Learning curves


def test_curves_of_each_fit(drawn):
    loss, accuracy = drawn(search_charts.curves_chart, WHOLE)
    for axes, values in (
        (loss, [(0.5, 0.25), (0.625, 0.375)]),
        (accuracy, [(0.75, 0.875), (0.5, 0.75)]),
    ):
        assert [tuple(line.get_ydata()) for line in axes.lines] == values
        assert [tuple(line.get_xdata()) for line in axes.lines] == [(1, 2), (1, 2)]
    assert len({line.get_linestyle() for line in loss.lines}) == 2  # not by colour alone
    (legend,) = loss.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["cnn, fold 1", "cnn, fold 2"]


def test_curves_are_described(monkeypatch):
    _, description = titles_of(monkeypatch, search_charts.curves_chart, WHOLE)
    assert description == (
        "Training loss and accuracy by epoch of 2 fits of the best trial; accuracy at the end "
        "0.75000 to 0.87500"
    )
    assert search_charts.curves_chart(replace(WHOLE, curves={})) is None


# Importance


@pytest.mark.parametrize(
    ("is_rough", "texts"),
    [(False, ["62 %", "25 %", "12 %", "0 %"]), (True, ["much", "some", "some", "little, if any"])],
)
def test_importance_is_in_words_where_figures_would_be_noise(drawn, is_rough, texts):
    fractions = {"a": 0.62, "b": 0.25, "c": 0.12, "d": 0.001}
    (axes,) = drawn(search_charts.importance_chart, fractions, is_rough)
    assert [text.get_text() for text in axes.texts][1::2] == texts
    assert [text.get_text() for text in axes.texts][::2] == list(fractions)
