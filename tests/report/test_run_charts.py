"""The charts of a run made by hand, as axes and as words."""

from dataclasses import replace

import numpy as np
import pytest
from reported import LABELS, METRICS, PROVISIONAL, REPORT, TEST, fit

from kaggle_digits.data.competition import KNOWN_SCORES
from kaggle_digits.report import charts, run_charts
from kaggle_digits.report.charts import LIGHT
from kaggle_digits.results.run_metrics import MemberScore


@pytest.fixture
def drawn(monkeypatch):
    """Return a function that draws a chart and returns its axes, its titles and its description."""
    figures = []

    def draw(name, height, fill, description):
        from matplotlib.figure import Figure

        figure = Figure()
        figures.append((figure, fill(figure), description))

    monkeypatch.setattr(charts, "draw", draw)

    def made(make, *arguments):
        make(*arguments)
        figure, titles, description = figures[-1]
        return figure.axes, titles, description

    return made


def names_of(axes):
    return [tick.get_text() for tick in axes.get_yticklabels()]


def test_expected_leaderboard_beside_known_scores(drawn):
    (axes,), titles, description = drawn(run_charts.leaderboard_chart, METRICS)
    assert names_of(axes) == ["expected here, 95 %", "out of fold, 95 %", *KNOWN_SCORES]
    band = axes.lines[0]
    assert (tuple(band.get_xdata()), band.get_color()) == ((0.9, 0.98), LIGHT["best"])
    assert titles["row2"] == "C. Deotte, 15 CNNs: 0.99757"
    low, high = axes.get_xlim()
    assert low < 0.76387  # the interval's end
    assert 0.999 < high < 1
    assert description.startswith(
        "expected leaderboard 0.90000 to 0.98000 (95 % band), out-of-fold accuracy 0.95000; known "
        "scores: C. Deotte, 15 CNNs 0.99757, "
    )


def test_optimistic_figures_are_called_so_beside_known_scores(drawn):
    searched = replace(METRICS, optimistic=True, optimistic_because=("training",))
    (axes,), titles, description = drawn(run_charts.leaderboard_chart, searched)
    own = ["expected here, 95 %, optimistic", "out of fold, 95 %, optimistic"]
    assert names_of(axes)[:2] == own
    assert titles["row1"] == "out of fold, 95 %, optimistic: 0.95000"
    assert "(95 % band, optimistic), out-of-fold accuracy 0.95000, optimistic; kn" in description


def test_kaggles_score_comes_first(drawn):
    (axes,), titles, description = drawn(run_charts.leaderboard_chart, METRICS, 0.97)
    assert names_of(axes)[0] == "Kaggle's score"
    assert titles["row0"] == "Kaggle's score: 0.97000"
    assert description.startswith("Kaggle's score 0.97000, expected leaderboard")


@pytest.mark.parametrize(
    "metrics",
    [
        PROVISIONAL.metrics,
        replace(METRICS, demo_data=True),
        replace(METRICS, not_for_upload="trained on MNIST"),
    ],
)
def test_nothing_is_expected_without_out_of_fold_figures_or_of_demo_data(metrics):
    assert run_charts.leaderboard_chart(metrics) is None


def test_accuracy_of_each_net(drawn):
    (axes,), titles, description = drawn(run_charts.nets_chart, METRICS)
    assert names_of(axes) == [
        *("ensemble", "a", "a, fold 1", "a, fold 2"),
        *("b", "b, fold 1", "b, fold 2"),
    ]
    assert titles["net2"] == "a, fold 1: 0.90000, 1 of 10 rows wrong"
    interval, point = axes.lines[:2]
    assert tuple(interval.get_xdata()) == METRICS.oof_interval
    assert point.get_xdata() == [0.95]
    assert description == (
        "Out-of-fold accuracy of the ensemble, 0.95000, and of 4 nets, 0.90000 to 1.00000, with "
        "95 % intervals"
    )
    assert run_charts.nets_chart(PROVISIONAL.metrics) is None


def test_one_member_is_its_ensemble(drawn):
    metrics = replace(METRICS, members={"a": METRICS.members["a"]})
    (axes,), *_ = drawn(run_charts.nets_chart, metrics)
    assert names_of(axes) == ["ensemble", "a, fold 1", "a, fold 2"]


def test_nets_that_hold_nothing_out_are_left_out(drawn):
    nothing = MemberScore(0, 0, None, None, {"fold1": None})
    metrics = replace(METRICS, members={"a": METRICS.members["a"], "b": nothing})
    (axes,), *_ = drawn(run_charts.nets_chart, metrics)
    assert names_of(axes) == ["ensemble", "a, fold 1", "a, fold 2"]


def test_too_many_nets_are_drawn_by_member(drawn, monkeypatch):
    monkeypatch.setattr(run_charts, "MOST_ROWS", 3)
    (axes,), _, description = drawn(run_charts.nets_chart, METRICS)
    assert names_of(axes) == ["ensemble", "a", "b"]
    assert "of 4 nets, 0.90000 to 1.00000" in description


def curves(fits):
    # By a name that is looked up now: the fixture has replaced it.
    return run_charts.curves_chart(fits, charts.draw)


def test_curves_of_each_fit(drawn):
    panels, titles, description = drawn(curves, REPORT.fits)
    assert [axes.get_ylabel() for axes in panels] == ["loss", "accuracy", "learning rate"]
    loss, *_ = panels
    assert [tuple(line.get_ydata()) for line in loss.lines] == 4 * [(0.5, 0.25)]
    # A member is known by its mark, not by its colour alone.
    assert [line.get_marker() for line in loss.lines] == ["o", "o", "s", "s"]
    assert titles["loss2"] == "b fold 1: loss 0.25 at the end"
    (legend,) = loss.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]
    assert description == (
        "Training loss, accuracy and learning rate by epoch of 4 fits; accuracy at the end 0.87500 "
        "to 0.87500"
    )


def test_curves_on_held_out_rows_are_dashed(drawn):
    fits = [fit("a", 0, val_loss=(0.6, 0.3), val_accuracy=(0.7, 0.8))]
    (loss, accuracy, _), titles, _ = drawn(curves, fits)
    for axes, values in ((loss, (0.6, 0.3)), (accuracy, (0.7, 0.8))):
        training, heldout = axes.lines
        assert (training.get_linestyle(), heldout.get_linestyle()) == ("-", "--")
        assert tuple(heldout.get_ydata()) == values
    assert titles["val_loss0"] == "a fold 1: loss 0.3 at the end"
    (legend,) = loss.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "training", "held-out rows"]


def test_the_epoch_that_is_kept_has_a_star(drawn):
    fits = [replace(fit("a", 0, val_loss=(0.3, 0.6)), kept_epoch=1), fit("b", 0)]
    (loss, *_), titles, description = drawn(curves, fits)
    stars = [tuple(line.get_xydata()[0]) for line in loss.lines if line.get_marker() == "*"]
    assert stars == [(1, 0.5), (1, 0.3)]
    assert titles["val_loss0"] == "a fold 1: loss 0.3 in epoch 1, kept"
    assert titles["loss1"] == "b fold 1: loss 0.25 at the end"
    (legend,) = loss.figure.legends
    assert legend.get_texts()[-1].get_text() == "epoch that is kept"
    assert description.endswith("accuracy in the epochs that are kept 0.75000 to 0.87500")


def test_a_history_may_have_fewer_columns(drawn):
    fits = [replace(fit("a", 0), history={"epoch": (1,), "loss": (0.5,)})]
    panels, _, description = drawn(curves, fits)
    assert [axes.get_ylabel() for axes in panels] == ["loss"]
    assert description.endswith("of 1 fit")
    assert run_charts.curves_chart([replace(fit("a", 0), history={})]) is None


def test_balance_of_the_classes(drawn):
    (axes,), _, description = drawn(run_charts.balance_chart, LABELS, TEST)
    heights = [bar.get_height() for bar in axes.patches]
    assert heights[:10] == 10 * [10.0]
    assert heights[10:] == [0, 40, 0, 20, 20, 20, 0, 0, 0, 0]
    assert "1 10.0 and 40.0 %" in description


def test_seconds(drawn):
    (axes,), _, description = drawn(run_charts.seconds_chart, {"training": 90.0, "other": 30.0})
    assert names_of(axes) == ["training", "other"]
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["1 min 30 s, 75.0 %", "30 s, 25.0 %"]
    assert description == "Where the seconds went: training 1 min 30 s, other 30 s"


def test_no_seconds_at_all(drawn):
    (axes,), *_ = drawn(run_charts.seconds_chart, {"training": 0.0})
    assert np.isfinite(axes.get_xlim()).all()
