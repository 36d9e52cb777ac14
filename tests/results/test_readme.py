"""The page that documents the records names every key of theirs, and no other."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from kaggle_digits.results import comparison, evaluation, run_metrics, search_records

PAGE = (Path(run_metrics.__file__).parent / "README.md").read_text(encoding="utf-8")


def keys_after(heading):
    table = PAGE[PAGE.index(heading) :].partition("| --- |")[2].partition("\n\n")[0]
    return re.findall(r"^\| `(\w+)`", table, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("heading", "record", "own"),
    [
        ("`RunMetrics`", run_metrics.RunMetrics, ["format"]),
        ("`Evaluation`", evaluation.Evaluation, ["format"]),
        ("`RunEntry`\n", comparison.RunEntry, []),
        ("`Comparison`", comparison.Comparison, []),
        ("`PairTest`:", comparison.PairTest, []),
        ("`RowDifference`:", comparison.RowDifference, []),
        ("`SearchRecord`", search_records.SearchRecord, ["format"]),
        ("`TrialResult`:", search_records.TrialResult, []),
    ],
)
def test_every_key_is_documented(heading, record, own):
    assert sorted(keys_after(heading)) == sorted([*own, *(field.name for field in fields(record))])


def test_formats_are_those_of_the_code():
    assert f"`RunMetrics`, format {run_metrics.FORMAT}\n" in PAGE
    assert f"`Evaluation`, format {evaluation.FORMAT}\n" in PAGE
    assert f"`SearchRecord`, format {search_records.FORMAT}\n" in PAGE
