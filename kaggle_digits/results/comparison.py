"""Runs side by side: the records behind `kaggle-digits runs` and `compare`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RunEntry:
    """What a list of runs says of a folder; what is not known is None.

    Attributes:
        name: of the folder.
        kind: run, joined, search, or other.
        config: name of the config.
        complete: there is nothing left to do.
        running: a process is at work in it.
        fits: finished fits; trials of a search.
        fits_planned: fits in all.
        accuracy: out of fold, 0..1; of a search that of its best trial.
        wrong: rows predicted wrongly.
        rows: rows predicted out of fold.
        low: lower end of the accuracy's 95 % interval.
        high: its upper end.
        expected_low: lower end of the band expected on the leaderboard; None where the data is not
            the competition's.
        expected_high: its upper end.
        kaggle: the newest score at Kaggle of the submission as it is now.
        image_passes: images that its fits were trained on, each time counted.
        seconds: wall time of all invocations; of a search the time of its trials.
        parameters: of one net of each member together.
        date: when its figures were written, UTC, ISO 8601.
        demo: made from the demo data.
        not_for_upload: why its submission must not be uploaded; None: it may.
        optimistic: choices were made by rows that the accuracy counts, by a search or in training.
        problem: what is amiss, "" if nothing.
    """

    name: str
    kind: str
    config: str = ""
    complete: bool | None = None
    running: bool = False
    fits: int | None = None
    fits_planned: int | None = None
    accuracy: float | None = None
    wrong: int | None = None
    rows: int | None = None
    low: float | None = None
    high: float | None = None
    expected_low: float | None = None
    expected_high: float | None = None
    kaggle: float | None = None
    image_passes: int | None = None
    seconds: float | None = None
    parameters: int | None = None
    date: str | None = None
    demo: bool = False
    not_for_upload: str | None = None
    optimistic: bool = False
    problem: str = ""


@dataclass(frozen=True)
class PairTest:
    """McNemar's exact test of two runs on the training rows that both predict out of fold.

    Attributes:
        one: name of the first.
        other: name of the second.
        rows: that both predict.
        only_one_wrong: rows that only the first predicts wrongly.
        only_other_wrong: rows that only the second predicts wrongly.
        p_value: of the test by itself, two-sided.
        corrected: by Holm's method for the number of tests; the same where there is one.
        same_folds: the nets behind a row were trained on the same rows.
    """

    one: str
    other: str
    rows: int
    only_one_wrong: int
    only_other_wrong: int
    p_value: float
    corrected: float
    same_folds: bool


@dataclass(frozen=True)
class RowDifference:
    """A training row that the runs predict differently.

    Attributes:
        row: its place in the training data, from 0.
        label: its class.
        predicted: the class that each run predicts.
        probabilities: that each run gives to the label, 0..1.
    """

    row: int
    label: int
    predicted: tuple[int, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class SettingDifference:
    """A setting of the config that not all runs have alike.

    Attributes:
        key: dotted, for example train.epochs.
        values: what each run has, as YAML in one line; None: it has no such setting.
    """

    key: str
    values: tuple[str | None, ...]


@dataclass(frozen=True)
class Comparison:
    """What runs have come to, side by side.

    Attributes:
        runs: in the order in which they were given.
        settings: in which their configs differ, apart from threads and where the data is.
        tests: one for each pair of runs.
        rows: training rows that all predict out of fold.
        disputed: of them, rows that not all give the same class.
        differences: the disputed rows on which they differ most.
    """

    runs: tuple[RunEntry, ...]
    settings: tuple[SettingDifference, ...]
    tests: tuple[PairTest, ...]
    rows: int
    disputed: int
    differences: tuple[RowDifference, ...]
