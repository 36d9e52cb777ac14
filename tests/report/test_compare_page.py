import re
from dataclasses import replace

import numpy as np
import pytest
from test_compare_tables import PAIR, TEST

from kaggle_digits.report import compare_page

IMAGES = {77: np.eye(28, dtype=np.uint8) * 255}


def text_of(page):
    body = re.sub(r"<(style|script|svg)\b.*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", body).replace("&#39;", "'").split())


def test_page_has_all_pieces():
    page = compare_page.page(PAIR, IMAGES)
    headings = re.findall(r"<h([12])[^>]*>(.*?)</h", page)
    assert headings == [
        ("1", "quick-1, standard-1 compared"),
        ("2", "Scores and costs"),
        ("2", "Accuracies with their 95&nbsp;% intervals"),
        ("2", "What this can and cannot say"),
        ("2", "Settings that differ"),
        ("2", "Paired tests"),
        ("2", "Where they differ most"),
    ]
    text = text_of(page)
    for expected in (
        "0.99440 235 of 42,000 rows wrong",
        "standard-1 (optimistic) 0.99605 166 of 42,000 rows wrong",
        "setting quick-1 standard-1 train.epochs 7 12 members.x has none {}",
        "586,000 4 min 17 s 165,634",
        "standard-1 (optimistic) is significantly better than quick-1",
        "than quick-1 120 51 42,000 1.5e-07 the same",
        "not about the configs",
        "row 78, labelled 4 quick-1 4 0.90 standard-1 9 0.25",
    ):
        assert expected in text, expected
    assert "DEMO DATA" not in text
    assert "p, corrected" not in text


def test_equal_comparisons_give_equal_pages():
    assert compare_page.page(PAIR, IMAGES) == compare_page.page(PAIR, IMAGES)


def test_page_refers_to_nothing_outside():
    page = compare_page.page(PAIR, IMAGES)
    for address in ("http:", "https:", "@import", 'src="/'):
        assert address not in page, address
    assert re.findall(r'src="(.{22})', page) == ["data:image/png;base64,"]
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(set(ids)) == len(ids)


def test_images_and_charts_are_said_in_words_too():
    page = compare_page.page(PAIR, IMAGES)
    assert 'alt="training row 78, labelled 4"' in page
    assert "quick-1 0.99440, 0.99364 to 0.99507; standard-1 0.99605" in page


def test_rows_without_their_images_have_numbers():
    page = compare_page.page(PAIR, {})
    assert "<img" not in page
    assert "row 78, labelled 4" in text_of(page)


def test_columns_that_nobody_has_are_left_out():
    assert "Kaggle" not in compare_page.page(PAIR, {})
    scored = replace(PAIR, runs=(replace(PAIR.runs[0], kaggle=0.9951), PAIR.runs[1]))
    assert "0.99510" in text_of(compare_page.page(scored, {}))


def test_several_tests_show_both_p_values():
    several = replace(PAIR, tests=(replace(TEST, corrected=3e-7), replace(TEST, same_folds=False)))
    text = text_of(compare_page.page(several, {}))
    assert "p, corrected" in text
    assert "1.5e-07 3e-07 the same" in text
    assert "1.5e-07 1.5e-07 different" in text


def test_demo_data_and_runs_that_are_equal():
    demo = replace(PAIR, runs=tuple(replace(run, demo=True) for run in PAIR.runs), differences=())
    text = text_of(compare_page.page(demo, {}))
    assert "DEMO DATA" in text
    assert "Nowhere: all give the same class to every row." in text


@pytest.mark.parametrize("name", ["<b>bold</b>", 'a"b'])
def test_names_are_escaped(name):
    runs = replace(PAIR.runs[0], name=name), PAIR.runs[1]
    renamed = replace(PAIR, runs=runs, tests=(replace(TEST, one=name),))
    page = compare_page.page(renamed, {})
    assert "<b>bold" not in page
    assert 'data-key="a"b' not in page


def test_page_is_written(tmp_path):
    path = compare_page.write_page(PAIR, {}, tmp_path / "new")
    assert path == tmp_path / "new" / "compare.html"
    assert path.read_text() == compare_page.page(PAIR, {})
