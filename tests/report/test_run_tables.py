import shlex
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from kaggle_digits.report import run_tables
from kaggle_digits.results.run_metrics import MemberScore, RunMetrics
from kaggle_digits.scoring.ensemble import Score


def text_of(table, width=300):
    """A table as a terminal shows it, its lines without borders."""
    console = Console(width=width, file=StringIO(), color_system=None)
    console.print(table)
    return console.file.getvalue()


# The result of a run

OF_RUN = RunMetrics(
    complete=True,
    provisional=False,
    fits_finished=2,
    fits_planned=2,
    oof_accuracy=0.997,
    oof_errors=126,
    oof_rows=42_000,
    oof_interval=(0.99643, 0.99748),
    expected_leaderboard=(0.99612, 0.99788),
    members={
        "cnn": MemberScore(
            126,
            42_000,
            0.997,
            (0.99643, 0.99748),
            {
                "fold1": Score(60, 21_000, 0.99714, (0.996, 0.998)),
                "fold2": Score(66, 21_000, 0.99686, (0.996, 0.998)),
            },
            fold_mean=0.997,
            fold_std=0.00014,
        )
    },
    test_rows=28_000,
    images_per_second=1234.5,
    wall_seconds=4800.0,
    saving_seconds=12.0,
    peak_memory_bytes=3 * 2**29,
)
RUN, SUBMISSION = Path("runs/mine"), Path("runs/mine/submission.csv")
OOF = "0.99700 (126 of 42,000 rows wrong)"
DETAILS = [
    ("wall time", "1 h 20 min in all invocations, 0.2 % of it saving, hashing and syncing"),
    ("peak memory", "1.50 GiB in the main process"),
    ("all files", "runs/mine/ (metrics.json, manifest.json, fits/ ...)"),
]


def test_a_test_accuracy_with_rows_that_were_trained_on_is_not_honest():
    test = Score(1, 1000, 0.999, (0.99, 1.0))
    labels = [fact.label for fact in run_tables.warnings(replace(OF_RUN, test=test))]
    assert "NOT HONEST" not in labels
    found = run_tables.warnings(replace(OF_RUN, test=test, test_rows_also_in_train=7))
    [fact] = (fact for fact in found if fact.label == "NOT HONEST")
    assert fact.value == "the test accuracy counts 7 test rows that were also trained on"


def facts_of(metrics):
    """(label, value) by heading."""
    sections = run_tables.run_result(metrics, RUN, SUBMISSION).sections
    return {heading: [(f.label, f.value) for f in facts] for heading, facts in sections.items()}


def test_report_is_named_where_there_is_one():
    sections = run_tables.run_result(OF_RUN, RUN, SUBMISSION, report=RUN / "report.html").sections
    first = sections["Details"][0]
    assert (first.label, first.value) == ("report", "runs/mine/report.html, for a browser")


def result_of(**changes):
    """The facts under the first heading, but for the last: where the submission is."""
    *facts, last = facts_of(replace(OF_RUN, **changes))["Result of runs/mine"]
    assert last == ("submission", "runs/mine/submission.csv")
    return facts


def next_of(**changes):
    return facts_of(replace(OF_RUN, **changes))["Next"]


def details_of(**changes):
    return facts_of(replace(OF_RUN, **changes))["Details"]


def test_result_of_a_complete_run():
    assert result_of() == [
        ("out-of-fold accuracy", OOF),
        ("95 % interval", "0.99643 to 0.99748"),
        ("expected leaderboard", "0.99612 to 0.99788 (95 % band)"),
    ]
    assert next_of() == [
        ("upload it", "kaggle-digits submit runs/mine"),
        ("by hand", "https://www.kaggle.com/competitions/digit-recognizer/submit"),
        ("more nets", "kaggle-digits extend runs/mine --seeds 2"),
    ]
    fits = ("fits of cnn", "mean=99.700 std=0.014, n=2")
    assert details_of() == [fits, ("training speed", "1,234 images/s"), *DETAILS]


def test_score_stands_first_and_costs_last():
    lines = text_of(run_tables.run_result(OF_RUN, RUN, SUBMISSION), width=80).splitlines()
    assert lines[:3] == [
        "",
        "Result of runs/mine",
        "  out-of-fold accuracy  0.99700 (126 of 42,000 rows wrong)",
    ]
    assert (
        lines[-1] == "  all files             runs/mine/ (metrics.json, manifest.json, fits/ ...)"
    )
    assert max(map(len, lines)) <= 80


def test_next_seed_is_one_more():
    cnn = OF_RUN.members["cnn"]
    members = {"cnn": cnn, "cnn_2": cnn, "big_net": cnn, "cnn_10": cnn}
    assert next_of(members=members)[-1][1] == "kaggle-digits extend runs/mine --seeds 11"
    # It is no copy of another member.
    assert next_of(members={"resnet_18": cnn})[-1][1].endswith("--seeds 2")


def test_where_there_is_no_command_none_is_named(monkeypatch):
    monkeypatch.setattr(run_tables.environment, "has_command", lambda: False)
    page = "https://www.kaggle.com/competitions/digit-recognizer/submit"
    assert next_of() == [("by hand", page)]


def test_an_unfinished_run_is_continued_first():
    steps = next_of(complete=False, fits_finished=1, fits_planned=3)
    assert steps[0] == ("continue", "repeat the command")
    assert [label for label, _ in steps] == ["continue", "upload it", "by hand"]


def test_commands_can_be_copied_whatever_the_folder_is_called():
    folder = Path("my runs/it's")
    facts = run_tables.run_result(OF_RUN, folder, folder / "submission.csv").sections["Next"]
    words = [shlex.split(fact.value) for fact in facts if fact.kind == "command"]
    assert words == [
        ["kaggle-digits", "submit", "my runs/it's"],
        ["kaggle-digits", "extend", "my runs/it's", "--seeds", "2"],
    ]


def test_members_are_listed_where_there_are_several():
    cnn = OF_RUN.members["cnn"]
    big = replace(cnn, accuracy=0.998, fits={"fold1": cnn.fits["fold1"]})
    assert details_of(members={"cnn": cnn, "big": big})[:3] == [
        ("member cnn", "0.99700 (2 fits)"),
        ("fits of cnn", "mean=99.700 std=0.014, n=2"),
        ("member big", "0.99800 (1 fit)"),  # one fit has no deviation
    ]


def test_rows_that_no_fit_holds_out_are_said():
    facts = result_of(train_rows=42_000, oof_rows=39_912)
    assert facts[2] == ("out of fold", "39,912 of 42,000 rows covered")
    assert "out of fold" not in dict(result_of(train_rows=42_000))


def test_result_of_nets_on_all_rows():
    nothing = {"oof_accuracy": None, "oof_errors": None, "oof_rows": None, "oof_interval": None}
    member = MemberScore(0, 0, None, None, {"fold1": None})
    changes = nothing | {"expected_leaderboard": None, "holds_rows_out": False}
    no_figure = ("out of fold", "no rows held out, so there is no figure and no forecast")
    assert result_of(**changes, members={"cnn": member}) == [no_figure]
    assert details_of(**changes, members={"cnn": member})[0][0] == "training speed"
    assert details_of(**changes, members={"cnn": member, "cnn_2": member})[:2] == [
        ("member cnn", "no rows held out (1 fit)"),
        ("member cnn_2", "no rows held out (1 fit)"),
    ]
    assert next_of(**changes, members={"cnn": member})[-1][1].endswith("--seeds 2")
    provisional = {"provisional": True, "provisional_fit": "cnn fold 1", "complete": False}
    text = "from cnn fold 1, which is not finished; no rows held out"
    assert result_of(**changes, **provisional)[0] == ("PROVISIONAL", text)
    upload = ("upload it", "kaggle-digits submit runs/mine --provisional")
    assert upload in next_of(**changes, **provisional)


def test_result_of_settings_that_a_search_chose():
    score = Score(7, 14_000, 0.9995, (0.99897, 0.99976))
    optimistic = ("OPTIMISTIC", "a search chose these settings, perhaps by some of the same rows")
    assert result_of(optimistic=True, holdout=score)[:5] == [
        optimistic,
        ("out-of-fold accuracy", OOF),
        ("95 % interval", "0.99643 to 0.99748"),
        ("on unseen rows", "0.99950 (7 of 14,000 rows wrong)"),
        ("95 % interval", "0.99897 to 0.99976"),
    ]
    assert result_of(optimistic=True)[:2] == [optimistic, ("out-of-fold accuracy", OOF)]
    because = {"optimistic": True, "optimistic_because": ("search", "training")}
    training = (
        "OPTIMISTIC",
        "each fit looked at the rows that it holds out, to stop early or to lower its learning "
        "rate",
    )
    assert result_of(**because)[:3] == [optimistic, training, ("out-of-fold accuracy", OOF)]
    because["optimistic_because"] = ("training",)
    assert result_of(**because)[0] == training
    forecast = "0.99612 to 0.99788 (95 % band, optimistic)"
    assert dict(result_of(**because))["expected leaderboard"] == forecast


def test_result_of_a_run_that_is_not_complete():
    facts = result_of(complete=False, fits_finished=1, fits_planned=3)
    assert facts[-1] == ("finished so far", "1 of 3 fits")
    assert "finished so far" not in [label for label, _ in result_of()]


def test_result_of_an_unfinished_fit_has_no_out_of_fold_figure():
    metrics = RunMetrics(
        complete=False,
        provisional=True,
        fits_finished=0,
        fits_planned=2,
        provisional_fit="cnn fold 1",
        test_rows=28_000,
        wall_seconds=4800.0,
        saving_seconds=12.0,
        peak_memory_bytes=3 * 2**29,
    )
    facts = facts_of(metrics)
    assert facts["Result of runs/mine"] == [
        ("PROVISIONAL", "from cnn fold 1, which is not finished; no out-of-fold figure yet"),
        ("finished so far", "0 of 2 fits"),
        ("submission", "runs/mine/submission.csv"),
    ]
    assert facts["Details"] == DETAILS


def test_result_names_skipped_fits_and_callbacks():
    skipped = {"cnn fold 2": "loss is nan in epoch 1", "big fold 1": "its predictions"}
    changes = {"skipped": skipped, "callbacks": ("mine:Watch", "mine:Save")}
    assert result_of(**changes)[:2] == [
        ("SKIPPED", "cnn fold 2 diverged: loss is nan in epoch 1"),
        ("SKIPPED", "big fold 1 diverged: its predictions"),
    ]
    assert details_of(**changes)[1] == ("callbacks", "mine:Watch, mine:Save")


def test_result_on_labelled_test_rows():
    facts = result_of(test=Score(3, 397, 0.99244, (0.97796, 0.99743)))
    assert facts[3:] == [
        ("test accuracy", "0.99244 (3 of 397 rows wrong)"),
        ("95 % interval", "0.97796 to 0.99743"),
    ]


@pytest.mark.parametrize(("accuracy", "warns"), [(0.79, True), (0.8, False)])
def test_accuracy_of_a_training_that_hardly_worked_is_called_so(accuracy, warns):
    warnings = [value for label, value in result_of(oof_accuracy=accuracy) if label == "WARNING"]
    assert len(warnings) == warns
    assert all(value.startswith("an accuracy below 0.8 means") for value in warnings)


@pytest.mark.parametrize(
    ("changes", "warning", "steps"),
    [
        (
            {"demo_data": True, "test_rows": 397},
            ("DEMO DATA", "this submission is NOT for upload"),
            ["the real files", "by hand", "more nets"],
        ),
        (
            {"demo_data": True},
            ("DEMO DATA", "this submission is NOT for upload"),
            ["the real files", "by hand", "more nets"],
        ),
        (
            {"not_for_upload": "trained on MNIST"},
            ("NOT FOR UPLOAD", "trained on MNIST"),
            ["where it errs", "more nets"],
        ),
        (
            {"test_rows": 27_999},
            ("NOT FOR UPLOAD", "it has 27,999 rows, the competition's has 28,000"),
            ["check it", "more nets"],
        ),
        (
            {"test_rows": 1},
            ("NOT FOR UPLOAD", "it has 1 row, the competition's has 28,000"),
            ["check it", "more nets"],
        ),
    ],
)
def test_submission_that_is_not_for_upload_is_called_so(changes, warning, steps):
    assert result_of(**changes)[0] == warning
    assert [label for label, _ in next_of(**changes)] == steps


@pytest.mark.parametrize("changes", [{"demo_data": True}, {"not_for_upload": "trained on MNIST"}])
def test_other_data_has_no_leaderboard(changes):
    assert "expected leaderboard" not in [label for label, _ in result_of(**changes)]
