"""Report of a run -> one HTML page that needs nothing but a browser, and a few pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kaggle_digits.report import (
    charts,
    digit_charts,
    pages,
    run_charts,
    run_predictions,
    run_tables,
    samples,
)
from kaggle_digits.report.pages import Card, Cell, Table, cell_of
from kaggle_digits.report.run_predictions import Found
from kaggle_digits.results.run_metrics import RunMetrics
from kaggle_digits.results.run_report import NetSummary, RunReport
from kaggle_digits.scoring.ensemble import Score
from kaggle_digits.system.console import count_of, duration

if TYPE_CHECKING:
    from markupsafe import Markup

FIRST_MISTAKES = 24  # in the gallery; the others are shown when asked for
DEMO = (
    "the figures are of scikit-learn's small digits and mean nothing for the competition; the "
    "submission is NOT for upload"
)
DASH = "\N{EN DASH}"


def page(report: RunReport) -> str:
    """Show a run as one HTML page that needs nothing from elsewhere.

    Args:
        report: the run.

    Returns:
        The page; the same for the same report.
    """
    found, metrics = Found(report), report.metrics
    has_oof, score = bool(len(found.rows)), next(iter(report.kaggle_scores[-1:]), None)
    return pages.render(
        "run.html",
        title=f"Run {report.name}",
        demo=DEMO if metrics.demo_data else None,
        warnings=list(_warnings(metrics)),
        cards=list(_cards(report)),
        next_step=report.next_step,
        leaderboard_chart=run_charts.leaderboard_chart(metrics, score),
        nothing_expected=_nothing_expected(metrics),
        nets_chart=run_charts.nets_chart(metrics),
        confusion_chart=digit_charts.confusion_chart(found.confusion) if has_oof else None,
        mistakes_chart=digit_charts.mistakes_chart(found.confusion) if has_oof else None,
        mistakes=run_predictions.mistakes_gallery(found),
        first_mistakes=FIRST_MISTAKES,
        curves_chart=run_charts.curves_chart(report.fits),
        calibration_chart=digit_charts.calibration_chart(*found.calibrations) if has_oof else None,
        calibration_sentence=run_predictions.calibration_sentence(found) if has_oof else "",
        nothing_held_out=run_predictions.NOTHING_HELD_OUT,
        ensembling=list(run_predictions.ensembling_sentences(found)),
        members=run_predictions.members_table(found),
        labels=run_predictions.labels_table(found) if has_oof else None,
        labels_sentence=run_predictions.labels_sentence(found) if has_oof else "",
        uncertain=run_predictions.uncertain_gallery(found),
        disagreements=run_predictions.disagreements_table(found),
        disagreements_sentence=run_predictions.disagreements_sentence(found),
        balance_chart=_balance(report),
        seconds_chart=run_charts.seconds_chart(_seconds(report)),
        costs=_costs(metrics),
        augmentation=report.augmentation and samples.data_uri(report.augmentation),
        nets=_nets(report),
        fits=_fits(report),
        spreads=list(_spreads(metrics)),
        changes=report.changes,
        config=report.config,
        facts=report.facts,
    )


def pictures(report: RunReport) -> dict[str, bytes]:
    """Draw what people put into their own texts: name -> PNG file.

    Args:
        report: the run.

    Returns:
        Learning curves, confusion matrix and misclassified digits, as far as there are any.
    """
    found, drawn = Found(report), {}
    drawn["learning_curves.png"] = run_charts.curves_chart(report.fits, charts.picture)
    if len(found.rows):
        matrix = found.confusion
        drawn["confusion_matrix.png"] = digit_charts.confusion_chart(matrix, draw=charts.picture)
        if report.train_images is not None and len(found.mistakes):
            rows = found.mistakes
            drawn["misclassified.png"] = digit_charts.gallery_picture(
                report.train_images[found.rows[rows]], found.labels[rows], found.predicted[rows]
            )
    return {name: picture for name, picture in drawn.items() if picture}


# On top


def _warnings(metrics: RunMetrics) -> Iterator[tuple[str, str]]:
    """Yield (label, sentence) of all that has to be known before the figures are trusted."""
    if not metrics.complete:
        fits = f"{metrics.fits_finished} of {count_of(metrics.fits_planned, 'fit')} finished so far"
        yield "UNFINISHED", f"{fits}; all figures are of these"
    # Of the demo data the page's frame speaks.
    facts = run_tables.warnings(metrics)
    yield from ((fact.label, fact.value) for fact in facts if fact.label != "DEMO DATA")


def _cards(report: RunReport) -> Iterator[Card]:
    """Yield the figures on top of the page, the most important first."""
    metrics = report.metrics
    if metrics.oof:
        covered = [metrics.rows_covered] if metrics.rows_covered else []
        optimistic = ["optimistic: see above"] if metrics.optimistic else []
        yield _score_card("out-of-fold accuracy", metrics.oof, (*covered, *optimistic))
        if metrics.holdout:
            yield _score_card("accuracy on rows that no search saw", metrics.holdout)
        if metrics.has_leaderboard and metrics.expected_leaderboard:
            low, high = metrics.expected_leaderboard
            notes = (f"95 % band, {low:.5f} to {high:.5f}", "of the score that Kaggle will give")
            seen = ["optimistic: see above"] if metrics.is_forecast_optimistic else []
            yield Card("expected leaderboard", f"{low:.4f}{DASH}{high:.4f}", (*notes, *seen))
    elif metrics.provisional:
        epochs = f"{metrics.provisional_epochs:.1f} epochs"
        yield Card("submission", "provisional", (f"{metrics.provisional_fit}, {epochs} so far",))
    elif not metrics.holds_rows_out:
        yield Card("out-of-fold accuracy", "none", (run_tables.NO_FIGURE,))
    for score in report.kaggle_scores[-1:]:
        yield Card("score on Kaggle", f"{score:.5f}", verdicts=tuple(_beside_band(metrics, score)))
    if metrics.test:
        yield _score_card("accuracy on the labelled test rows", metrics.test)
    speed = metrics.images_per_second
    notes = (
        f"{duration(metrics.wall_seconds)} in all",
        *([f"{speed:,.0f} images/s in training"] if speed else []),
    )
    yield Card("nets trained", f"{metrics.fits_finished} of {metrics.fits_planned}", notes)


def _score_card(title: str, score: Score, notes: tuple[str, ...] = ()) -> Card:
    low, high = score.interval
    wrong = f"{score.errors:,} of {score.rows:,} rows wrong"
    interval = f"95 % interval {low:.5f} to {high:.5f}"
    return Card(title, f"{score.accuracy:.5f}", (wrong, interval, *notes))


def _beside_band(metrics: RunMetrics, score: float) -> Iterator[tuple[str, str]]:
    if metrics.has_leaderboard and metrics.expected_leaderboard:
        low, high = metrics.expected_leaderboard
        side = "below" if score < low else "above" if score > high else "within"
        yield "bad" if side == "below" else "good", f"{side} the expected band"


def _nothing_expected(metrics: RunMetrics) -> str:
    """Say why there is no chart of the leaderboard, where there is none."""
    if metrics.not_for_upload and not metrics.demo_data:
        return f"Nothing is expected: the submission is not for upload, {metrics.not_for_upload}."
    return (
        "No score at Kaggle is expected: that needs the competition's data, and rows predicted out "
        "of fold."
    )


# Costs, nets


def _balance(report: RunReport) -> Markup | None:
    if report.submitted is None or not len(report.labels):
        return None
    return run_charts.balance_chart(report.labels, report.submitted)


def _seconds(report: RunReport) -> dict[str, float]:
    metrics = report.metrics
    spent = {
        "training": sum(fit.train_seconds for fit in report.fits),
        "predicting": sum(fit.predict_seconds for fit in report.fits),
        "drawing images": metrics.drawing_seconds,
        "saving, hashing": metrics.saving_seconds,
        "reports": metrics.reporting_seconds,
    }
    return spent | {"other": max(0.0, metrics.wall_seconds - sum(spent.values()))}


def _costs(metrics: RunMetrics) -> str:
    speed = metrics.images_per_second
    parts = [
        f"{duration(metrics.wall_seconds)} in all invocations",
        *([f"training at {speed:,.0f} images/s"] if speed else []),
        f"at most {metrics.peak_memory_bytes / 2**30:.2f} GiB of memory in the main process",
    ]
    return f"{', '.join(parts)}."


def _nets(report: RunReport) -> list[tuple[str, str, NetSummary | None]]:
    """List (names of the members that have it, its cost, the net) of each different net."""
    members: dict[NetSummary | None, list[str]] = {}
    for member, net in report.nets().items():
        members.setdefault(net, []).append(member)
    return [
        (
            ", ".join(names),
            f"{net.parameters:,} parameters, {net.flops / 1e6:,.2f} MFLOP an image" if net else "",
            net,
        )
        for net, names in members.items()
    ]


def _spreads(metrics: RunMetrics) -> Iterator[str]:
    """Yield mean and deviation of each member's nets, where there are several."""
    for name, member in metrics.members.items():
        if member.fold_mean is not None and len(member.fits) > 1:
            yield f"{name}: {run_tables.mean_and_std(member)}, n={len(member.fits)}"


def _fits(report: RunReport) -> Table:
    """List all finished fits."""
    rows = []
    for fit in report.fits:
        member = report.metrics.members.get(fit.member)
        score = member and member.fits.get(f"fold{fit.fold + 1}")
        low, high = score.interval if score else (None, None)
        epochs = len(fit.history.get("epoch", ()))
        speed = fit.train_images / fit.train_seconds if fit.train_seconds else None
        rows.append(
            [
                Cell(fit.name, f"{fit.member} fold {fit.fold + 1:03d}"),
                cell_of(score and score.errors, ",d"),
                cell_of(score and score.rows, ",d"),
                cell_of(score and score.accuracy, ".5f"),
                cell_of(low, ".5f"),
                cell_of(high, ".5f"),
                Cell(f"{epochs}, kept {fit.kept_epoch}", epochs)
                if fit.kept_epoch
                else cell_of(epochs, "d"),
                cell_of(fit.kept("loss"), ".4f"),
                cell_of(fit.train_seconds, ",.1f"),
                cell_of(speed, ",.0f"),
            ]
        )
    headings = (
        "fit",
        "wrong",
        "rows",
        "accuracy",
        "95 % from",
        "to",
        "epochs",
        "training loss",
        "training, s",
        "images/s",
    )
    return Table(headings, rows)
