"""Report of a run -> one HTML page that needs nothing but a browser, and a few pictures."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kaggle_digits.report import charts, digit_charts, pages, run_charts, run_tables
from kaggle_digits.report.digit_charts import Tile
from kaggle_digits.report.pages import Card, Cell, Table, cell_of
from kaggle_digits.results.run_metrics import RunMetrics
from kaggle_digits.results.run_report import NetSummary, RunReport
from kaggle_digits.scoring import calibration, contributions, forecast, label_noise
from kaggle_digits.scoring.calibration import Calibration
from kaggle_digits.scoring.contributions import Ensembling
from kaggle_digits.scoring.ensemble import Score
from kaggle_digits.scoring.label_noise import Contradictions
from kaggle_digits.system.console import count_of, duration

# Digits in a gallery, rows in a table.
MISTAKES, UNCERTAIN, LISTED = 60, 24, 100
FIRST_MISTAKES = 24  # the others are shown when asked for
DEMO = (
    "the figures are of scikit-learn's small digits and mean nothing for the competition; the "
    "submission is NOT for upload"
)
DASH = "\N{EN DASH}"
NOTHING_HELD_OUT = "Not known: no row is predicted by a net that never saw it."


@dataclass(frozen=True, eq=False)
class _Found:
    """What the page says of predictions, computed when it is first asked for."""

    report: RunReport

    @cached_property
    def rows(self) -> np.ndarray:
        """Training rows that are predicted out of fold."""
        return np.flatnonzero(~np.isnan(self.report.oof[:, 0]))

    @cached_property
    def labels(self) -> np.ndarray:
        """Their labels."""
        return self.report.labels[self.rows]

    @cached_property
    def oof(self) -> np.ndarray:
        """Their probabilities."""
        return self.report.oof[self.rows]

    @cached_property
    def predicted(self) -> np.ndarray:
        """What they are taken for."""
        return self.oof.argmax(axis=1)

    @cached_property
    def confusion(self) -> np.ndarray:
        """Their confusion matrix."""
        return digit_charts.confusion_matrix(self.labels, self.predicted)

    @cached_property
    def mistakes(self) -> np.ndarray:
        """Places in `rows` of the most confident mistakes."""
        return digit_charts.surest_mistakes(
            self.labels, self.predicted, self.oof.max(axis=1), MISTAKES
        )

    @cached_property
    def calibrations(self) -> tuple[Calibration, Calibration | None]:
        """As predicted, and after a temperature that each fold has from the others."""
        before = calibration.calibration(self.oof, self.labels)
        cooled = calibration.cross_fitted(self.oof, self.labels, self.report.folds[self.rows])
        return before, None if cooled is None else calibration.calibration(cooled, self.labels)

    @cached_property
    def ensembling(self) -> Ensembling | None:
        """What averaging has gained; None where nothing is predicted out of fold."""
        report = self.report
        if not len(self.rows):
            return None
        return contributions.ensembling(report.predictions, report.labels, report.method)

    @cached_property
    def contradictions(self) -> Contradictions:
        """Training rows that all nets contradict."""
        report = self.report
        return label_noise.contradictions(report.predictions, report.oof, report.labels)

    @cached_property
    def votes(self) -> np.ndarray:
        """How many nets give each class for each test row."""
        return label_noise.test_votes(self.report.predictions)


def page(report: RunReport) -> str:
    """Show a run as one HTML page that needs nothing from elsewhere.

    Args:
        report: the run.

    Returns:
        The page; the same for the same report.
    """
    found, metrics = _Found(report), report.metrics
    has_oof, score = bool(len(found.rows)), next(iter(report.kaggle_scores[-1:]), None)
    return pages.render(
        "run.html",
        title=f"Run {report.name}",
        demo=DEMO if metrics.demo_data else None,
        warnings=list(_warnings(metrics)),
        cards=list(_cards(report)),
        next_step=report.next_step,
        leaderboard_chart=run_charts.leaderboard_chart(metrics, score),
        nets_chart=run_charts.nets_chart(metrics),
        confusion_chart=digit_charts.confusion_chart(found.confusion) if has_oof else None,
        mistakes_chart=digit_charts.mistakes_chart(found.confusion) if has_oof else None,
        mistakes=_mistakes(found),
        first_mistakes=FIRST_MISTAKES,
        curves_chart=run_charts.curves_chart(report.fits),
        calibration_chart=digit_charts.calibration_chart(*found.calibrations) if has_oof else None,
        calibration_sentence=_calibration(found) if has_oof else "",
        nothing_held_out=NOTHING_HELD_OUT,
        ensembling=list(_ensembling(found)),
        members=_members(found),
        labels=_labels(found) if has_oof else None,
        labels_sentence=_labels_sentence(found) if has_oof else "",
        uncertain=_uncertain(found),
        disagreements=_disagreements(found),
        disagreements_sentence=_disagreements_sentence(found),
        balance_chart=_balance(report),
        seconds_chart=run_charts.seconds_chart(_seconds(report)),
        costs=_costs(metrics),
        augmentation=_data_uri(report.augmentation),
        nets=_nets(report),
        fits=_fits(report),
        changes=report.changes,
        config_name=report.config_name,
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
    found, drawn = _Found(report), {}
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
        notes = ("optimistic: a search chose the settings",) if metrics.optimistic else ()
        yield _score_card("out-of-fold accuracy", metrics.oof, notes)
        if metrics.holdout:
            yield _score_card("accuracy on rows that no search saw", metrics.holdout)
        if not metrics.demo_data and metrics.expected_leaderboard:
            low, high = metrics.expected_leaderboard
            notes = (f"95 % band, {low:.5f} to {high:.5f}", "of the score that Kaggle will give")
            yield Card("expected leaderboard", f"{low:.4f}{DASH}{high:.4f}", notes)
    elif metrics.provisional:
        epochs = f"{metrics.provisional_epochs:.1f} epochs"
        notes = (f"{metrics.provisional_fit}, {epochs} so far", "no out-of-fold figure yet")
        yield Card("submission", "provisional", notes)
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
    if metrics.expected_leaderboard:
        low, high = metrics.expected_leaderboard
        side = "below" if score < low else "above" if score > high else "within"
        yield "bad" if side == "below" else "good", f"{side} the expected band"


# Mistakes, labels


def _mistakes(found: _Found) -> list[Tile]:
    """Make a tile of each of the most confident mistakes; [] without images."""
    if found.report.train_images is None:
        return []
    rows = found.mistakes
    return digit_charts.gallery(
        found.report.train_images[found.rows[rows]],
        found.labels[rows],
        found.predicted[rows],
        found.oof[rows].max(axis=1),
        [f"row {row + 1:,}" for row in found.rows[rows]],
    )


def _calibration(found: _Found) -> str:
    before, after = found.calibrations
    text = f"Expected calibration error {before.expected_error:.4f} as predicted"
    if after is None:
        return f"{text}."
    return (
        f"{text}, {after.expected_error:.4f} after a temperature, which each fold has from the "
        "rows of the others."
    )


def _labels(found: _Found) -> Table:
    """List the training rows that all nets contradict, the least probable labels first."""
    noise, report = found.contradictions, found.report
    columns = (noise.rows, noise.suggested, noise.confidence, noise.given, noise.nets)
    rows = [
        [
            Cell(f"{row + 1:,}", row + 1),
            Cell(str(report.labels[row]), int(report.labels[row])),
            Cell(str(suggested), suggested),
            cell_of(100 * confidence, ".1f"),
            cell_of(100 * given, ".2f"),
            cell_of(nets, "d"),
            Cell("suspected" if suspected else "", "" if suspected else None),
        ]
        for row, suggested, confidence, given, nets, suspected in zip(
            *(column[:LISTED].tolist() for column in (*columns, noise.suspected)), strict=True
        )
    ]
    headings = ("row", "label", "nets say", "sure, %", "label, %", "nets", "wrong label?")
    return Table(headings, rows, _thumbnails(report.train_images, noise.rows[:LISTED]))


def _labels_sentence(found: _Found) -> str:
    noise = found.contradictions
    if not len(noise.rows):
        return "No training row is contradicted by all nets that never saw it."
    listed = f"; the first {LISTED} are listed" if len(noise.rows) > LISTED else ""
    return (
        f"{count_of(len(noise.rows), 'training row')} of {len(found.rows):,} are contradicted by "
        f"all nets that never saw them{listed}. Of {int(noise.suspected.sum()):,} the label is "
        "suspected to be wrong: all nets give one other digit, as surely as they give it to rows "
        "that have it as their label."
    )


def _uncertain(found: _Found) -> list[Tile]:
    """Make a tile of each of the least certain test digits; [] without images or predictions."""
    report = found.report
    if report.test_images is None or not len(report.test):
        return []
    confidence = report.test.max(axis=1)
    rows = np.argsort(confidence, kind="stable")[:UNCERTAIN]
    names = [f"ImageId {row + 1:,}" for row in rows]
    return digit_charts.gallery(
        report.test_images[rows], None, report.test[rows].argmax(axis=1), confidence[rows], names
    )


def _disagreeing(found: _Found) -> np.ndarray:
    """Return the test rows that the nets give more than one class, the fewest agreeing first."""
    agreeing = found.votes.max(axis=1)
    rows = np.flatnonzero(agreeing < len(found.report.predictions))
    return rows[np.lexsort((found.report.test[rows].max(axis=1), agreeing[rows]))]


def _disagreements(found: _Found) -> Table | None:
    report = found.report
    if len(report.predictions) < 2:
        return None
    listed = _disagreeing(found)[:LISTED]
    rows = []
    for row in listed.tolist():
        votes = found.votes[row]
        classes = np.argsort(-votes, kind="stable")[: np.count_nonzero(votes)].tolist()
        given = ", ".join(f"{digit} by {votes[digit]}" for digit in classes)
        label, sure = int(report.test[row].argmax()), 100 * float(report.test[row].max())
        agreeing = int(votes.max())
        cells = [Cell(f"{row + 1:,}", row + 1), Cell(str(label), label), cell_of(sure, ".1f")]
        rows.append([*cells, cell_of(agreeing, "d"), Cell(given, given)])
    headings = ("ImageId", "submitted", "sure, %", "agree", "what the nets say")
    return Table(headings, rows, _thumbnails(report.test_images, listed))


def _disagreements_sentence(found: _Found) -> str:
    nets = len(found.report.predictions)
    if nets < 2:
        return "One net cannot disagree with itself: this needs at least two finished fits."
    count, rows = len(_disagreeing(found)), len(found.report.test)
    listed = f" The {LISTED} on which the fewest agree are listed." if count > LISTED else ""
    return f"The {nets} nets disagree on {count:,} of {count_of(rows, 'test row')}.{listed}"


def _thumbnails(images: np.ndarray | None, rows: np.ndarray) -> list[str]:
    if images is None:
        return []
    nothing = np.zeros(len(rows))
    return [t.image for t in digit_charts.gallery(images[rows], None, nothing, nothing)]


# Ensembling


def _ensembling(found: _Found) -> Iterator[str]:
    """Yield what averaging has gained, a sentence each."""
    report, gained = found.report, found.ensembling
    if gained is None:
        yield NOTHING_HELD_OUT
        return
    whole = gained.ensemble
    if len(gained.members) > 1:
        of_single = (1 - gained.single) * whole.rows
        yield (
            f"Out of fold a single net is right on {gained.single:.5f} of the rows, on average "
            f"({of_single:,.0f} wrong); the average of {len(gained.members)} members on "
            f"{whole.accuracy:.5f} ({whole.errors:,} wrong of {whole.rows:,} rows that all have "
            "predicted)."
        )
    else:
        yield (
            "Out of fold each row is predicted by one member's net alone, so averaging shows "
            "nothing there."
        )
    if len({fit.fold for fit in report.predictions}) > 1 and report.metrics.oof:
        gain = forecast.averaging_gain(report.predictions, report.metrics.oof, report.method)
        yield (
            f"On the test rows all {len(report.predictions)} nets are averaged, those of all "
            f"folds: judged by how they disagree, that adds about {gain:.5f}, which the expected "
            "leaderboard counts."
        )


def _members(found: _Found) -> Table | None:
    """List what each member adds; None where there is only one."""
    gained = found.ensembling
    if gained is None or not gained.members:
        return None
    rows = [
        [
            Cell(each.member, each.member),
            cell_of(each.alone.errors, ",d"),
            cell_of(each.alone.accuracy, ".5f"),
            cell_of(each.without.errors, ",d"),
            cell_of(each.repaired, ",d"),
            cell_of(each.spoilt, ",d"),
            cell_of(each.p_value, ".3g"),
        ]
        for each in gained.members
    ]
    headings = (
        "member",
        "wrong alone",
        "accuracy alone",
        "wrong without it",
        "rows it repairs",
        "rows it spoils",
        "p (McNemar)",
    )
    return Table(headings, rows)


# Costs, nets


def _balance(report: RunReport) -> object:
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


def _fits(report: RunReport) -> Table:
    """List all finished fits."""
    rows = []
    for fit in report.fits:
        member = report.metrics.members.get(fit.member)
        score = member and member.fits.get(f"fold{fit.fold + 1}")
        low, high = score.interval if score else (None, None)
        epochs, loss = fit.history.get("epoch", ()), fit.history.get("loss", ())
        speed = fit.train_images / fit.train_seconds if fit.train_seconds else None
        rows.append(
            [
                Cell(fit.name, f"{fit.member} fold {fit.fold + 1:03d}"),
                cell_of(score and score.errors, ",d"),
                cell_of(score and score.rows, ",d"),
                cell_of(score and score.accuracy, ".5f"),
                cell_of(low, ".5f"),
                cell_of(high, ".5f"),
                cell_of(len(epochs), "d"),
                cell_of(loss[-1] if loss else None, ".4f"),
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
        "last loss",
        "training, s",
        "images/s",
    )
    return Table(headings, rows)


def _data_uri(png: bytes | None) -> str | None:
    return png and f"data:image/png;base64,{base64.b64encode(png).decode()}"
