"""Figures of a run -> what the terminal shows: the score, what to do next, what it has cost."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path
from shlex import quote

from kaggle_digits.data.competition import DATA_PAGE, SUBMIT_PAGE, TEST_ROWS
from kaggle_digits.results.evaluation import Evaluation
from kaggle_digits.results.run_metrics import MemberScore, RunMetrics
from kaggle_digits.scoring.ensemble import Score
from kaggle_digits.system import environment
from kaggle_digits.system.console import Fact, Facts, count_of, duration

NO_FIGURE = "no rows held out, so there is no figure and no forecast"
WHY_OPTIMISTIC = {
    "search": "a search chose these settings, perhaps by some of the same rows",
    "training": "each fit looked at the rows that it holds out, to stop early or to lower its "
    "learning rate",
}
# Pixels and a linear classifier reach 0.92 on these digits.
DOUBTFUL_ACCURACY = 0.8


def run_result(
    metrics: RunMetrics,
    folder: Path,
    submission: Path,
    how_to_continue: str = "repeat the command",
    report: Path | None = None,
    is_joined: bool = False,
) -> Facts:
    """Show what a run has come to: the score, what to do next, then what it has cost.

    Args:
        metrics: its figures.
        folder: the run's folder.
        submission: the submission in it.
        how_to_continue: what people do where fits are missing.
        report: its page; None: there is none.
        is_joined: it was joined from other runs, so nothing can be trained in it.

    Returns:
        Facts under headings.
    """
    sections = {
        f"Result of {folder}": [*warnings(metrics), *scores(metrics)],
        "Next": next_steps(metrics, folder, submission, how_to_continue, is_joined),
        "Details": _details(metrics, folder, report, is_joined),
    }
    sections[f"Result of {folder}"].append(Fact("submission", str(submission), "strong"))
    return Facts(sections)


def warnings(metrics: RunMetrics) -> list[Fact]:
    """List what people have to know before they trust a run's result or upload it."""
    facts = []
    if metrics.demo_data:
        facts.append(Fact("DEMO DATA", "this submission is NOT for upload", "warning"))
    elif metrics.not_for_upload:
        facts.append(Fact("NOT FOR UPLOAD", metrics.not_for_upload, "warning"))
    elif metrics.test_rows != TEST_ROWS:
        rows = count_of(metrics.test_rows, "row")
        facts.append(
            Fact("NOT FOR UPLOAD", f"it has {rows}, the competition's has {TEST_ROWS:,}", "warning")
        )
    if metrics.provisional:
        yet = "no out-of-fold figure yet" if metrics.holds_rows_out else "no rows held out"
        text = f"from {metrics.provisional_fit}, which is not finished; {yet}"
        facts.append(Fact("PROVISIONAL", text, "warning"))
    facts += optimism(metrics)
    if metrics.test and metrics.test_rows_also_in_train:
        rows = count_of(metrics.test_rows_also_in_train, "test row")
        text = f"the test accuracy counts {rows} that were also trained on"
        facts.append(Fact("NOT HONEST", text, "warning"))
    for name, reason in metrics.skipped.items():
        facts.append(Fact("SKIPPED", f"{name} diverged: {reason}", "warning"))
    if metrics.oof and metrics.oof.accuracy < DOUBTFUL_ACCURACY:
        text = (
            f"an accuracy below {DOUBTFUL_ACCURACY} means that training hardly worked; see the "
            f"loss in fits/*/history.csv, and try more train.epochs or a lower train.learning_rate"
        )
        facts.append(Fact("WARNING", text, "warning"))
    return facts


def optimism(found: RunMetrics | Evaluation) -> list[Fact]:
    """List why the out-of-fold figures are better than on rows that nothing was chosen by."""
    # Earlier versions knew of searches alone, and gave no reason.
    reasons = found.optimistic_because or ("search",) * found.optimistic
    return [Fact("OPTIMISTIC", WHY_OPTIMISTIC[reason], "warning") for reason in reasons]


def scores(metrics: RunMetrics) -> list[Fact]:
    """List the scores that a run has come to, with their intervals."""
    facts = []
    if metrics.oof:
        facts += _with_interval("out-of-fold accuracy", metrics.oof)
        if metrics.rows_covered:
            facts.append(Fact("out of fold", metrics.rows_covered))
        if metrics.holdout:
            facts += _with_interval("on unseen rows", metrics.holdout)
        if metrics.has_leaderboard:
            low, high = metrics.expected_leaderboard
            band = "95 % band, optimistic" if metrics.is_forecast_optimistic else "95 % band"
            facts.append(Fact("expected leaderboard", f"{low:.5f} to {high:.5f} ({band})", "good"))
    elif not metrics.holds_rows_out:
        facts.append(Fact("out of fold", NO_FIGURE))
    if metrics.test:
        facts += _with_interval("test accuracy", metrics.test)
    if not metrics.complete:
        done = f"{metrics.fits_finished} of {count_of(metrics.fits_planned, 'fit')}"
        facts.append(Fact("finished so far", done, "warning"))
    return facts


def mean_and_std(member: MemberScore) -> str:
    """Return mean and standard deviation of a member's fits in percent: mean=98.960 std=0.097."""
    return f"mean={100 * member.fold_mean:.3f} std={100 * member.fold_std:.3f}"


def _with_interval(label: str, score: Score) -> list[Fact]:
    low, high = score.interval
    wrong = f"{score.errors:,} of {count_of(score.rows, 'row')} wrong"
    return [
        Fact(label, f"{score.accuracy:.5f} ({wrong})", "good"),
        Fact("95 % interval", f"{low:.5f} to {high:.5f}"),
    ]


def next_steps(
    metrics: RunMetrics,
    folder: Path,
    submission: Path,
    how_to_continue: str,
    is_joined: bool = False,
) -> list[Fact]:
    """List what to do next, the first thing first; commands only where they can be typed."""
    steps = []
    if not metrics.complete:
        steps.append(Fact("continue", how_to_continue))
    if metrics.demo_data:
        steps.append(Fact("the real files", "kaggle-digits data fetch", "command"))
        steps.append(Fact("by hand", f"put the zip from {DATA_PAGE} into data/"))
    elif metrics.not_for_upload:
        evaluate = f"kaggle-digits evaluate {quote(str(folder))}"
        steps.append(Fact("where it errs", evaluate, "command"))
    elif metrics.test_rows == TEST_ROWS:
        upload = f"kaggle-digits submit {quote(str(folder))}"
        upload += " --provisional" if metrics.provisional else ""
        steps.append(Fact("upload it", upload, "command"))
        steps.append(Fact("by hand", SUBMIT_PAGE))
    else:
        steps.append(Fact("check it", f"kaggle-digits check {quote(str(submission))}", "command"))
    if metrics.complete and not is_joined:
        seeds = 1 + max(
            (_seed_number(name, metrics.members) for name in metrics.members), default=1
        )
        more = f"kaggle-digits extend {quote(str(folder))} --seeds {seeds}"
        steps.append(Fact("more nets", more, "command"))
    return [step for step in steps if step.kind != "command" or environment.has_command()]


def _seed_number(member: str, members: Container[str]) -> int:
    """Return which seed of its net a member is: 2 of cnn_2, as `extend` calls copies of cnn."""
    of, _, number = member.rpartition("_")
    return int(number) if number.isdecimal() and of in members else 1


def _details(metrics: RunMetrics, folder: Path, report: Path | None, is_joined: bool) -> list[Fact]:
    facts = [Fact("report", f"{report}, for a browser")] if report else []
    for name, member in metrics.members.items():
        fits = count_of(len(member.fits), "fit")
        if len(metrics.members) > 1:
            accuracy = "no rows held out" if member.accuracy is None else f"{member.accuracy:.5f}"
            facts.append(Fact(f"member {name}", f"{accuracy} ({fits})"))
        if member.fold_mean is not None and len(member.fits) > 1:
            facts.append(Fact(f"fits of {name}", f"{mean_and_std(member)}, n={len(member.fits)}"))
    if metrics.callbacks:
        facts.append(Fact("callbacks", ", ".join(metrics.callbacks)))
    if metrics.images_per_second:
        facts.append(Fact("training speed", f"{metrics.images_per_second:,.0f} images/s"))
    whose = "of the runs that it joins" if is_joined else "in all invocations"
    saving = f"{100 * metrics.saving_fraction:.1f} % of it saving, hashing and syncing"
    return [
        *facts,
        Fact("wall time", f"{duration(metrics.wall_seconds)} {whose}, {saving}"),
        Fact("peak memory", f"{metrics.peak_memory_bytes / 2**30:.2f} GiB in the main process"),
        Fact("all files", f"{folder}/ (metrics.json, manifest.json, fits/ ...)"),
    ]
