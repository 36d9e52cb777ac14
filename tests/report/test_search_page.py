import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from found import FRONT, START, WHOLE, comparison, failed, search, trial, two_kinds

from kaggle_digits.report import search_page, search_tables
from kaggle_digits.results.search_records import Resolution


class Reader(HTMLParser):
    """Reads a page.

    Attributes:
        ids: of all elements.
        references: ids that elements refer to.
        text: all that is shown, its spaces as they are drawn.
        charts: what the charts show, for those who do not see them.
        titles: id of a point -> what shows where the mouse rests on it.
        heads: (aria-sort, text) of each heading of the table of all trials.
        rows: (class, cells) of each of its rows; a cell is [data-key, text].
    """

    def __init__(self, page):
        super().__init__()
        self.ids, self.references, self.text, self.charts = [], [], "", []
        self.titles, self.heads, self.rows = {}, [], []
        self._open, self._in_trials = [], False
        self.feed(page)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self._open.append((tag, values))
        self.ids += [values["id"]] if "id" in values else []
        for value in values.values():
            self.references += re.findall(r"^#(.*)|url\(#([^)]*)\)", value or "")
        if tag == "svg" and "aria-label" in values:
            self.charts.append(values["aria-label"])
        if tag == "table":
            self._in_trials = values["class"] == "sortable"
        elif self._in_trials and tag == "tr" and "class" in values:
            self.rows.append((values["class"], []))
        elif self._in_trials and "aria-sort" in values:
            self.heads.append([values["aria-sort"], ""])
        elif self._in_trials and "data-key" in values:
            self.rows[-1][1].append([values["data-key"], ""])

    def handle_endtag(self, tag):
        while self._open.pop()[0] != tag:
            pass  # an element that has no end, like <meta>

    def handle_data(self, data):
        tags = [tag for tag, _ in self._open]
        if not {"style", "script"} & set(tags):
            self.text += data
        if tags[-1:] == ["title"] and "svg" in tags:
            self.titles[self._open[-2][1]["id"]] = data
        elif self._in_trials and {"th", "td"} & set(tags):
            cell = self.heads[-1] if "thead" in tags else self.rows[-1][1][-1]
            cell[1] += data.strip()


def read(found, title="A search"):
    return Reader(search_page.page(found, title))


def test_equal_records_give_equal_pages():
    assert search_page.page(WHOLE, "A search") == search_page.page(WHOLE, "A search")


def test_page_refers_to_nothing_outside():
    page = search_page.page(WHOLE, "A search")
    assert page.count('<svg role="img"') == 5
    for address in ("http:", "https:", "//", "@import", "src="):
        assert address not in page, address
    reader = Reader(page)
    assert len(set(reader.ids)) == len(reader.ids)
    assert reader.references
    assert {one or other for one, other in reader.references} <= set(reader.ids)


def test_every_chart_has_a_text_for_those_who_do_not_see_it():
    kinds = [text.split(" ")[0] for text in read(WHOLE).charts]
    assert kinds == ["accuracy", "accuracy", "Parallel", "Importance", "Training"]


def test_page_has_all_pieces():
    page = search_page.page(WHOLE, "A search", "kaggle-digits run --config a/best.yaml")
    headings = re.findall(r"<h([12])[^>]*>(.*?)</h", page)
    assert headings == [
        ("1", "A search"),
        ("2", "Progress over trials"),
        ("2", "Score against cost"),
        ("2", "Settings of all trials"),
        ("2", "The start and the best"),
        ("2", "What was found"),
        ("2", "Importance of the settings"),
        ("2", "Learning curves of the best"),
        ("2", "All trials"),
        ("2", "Data, machine and versions"),
    ]
    text = Reader(page).text
    assert "Next, train the best on all folds: kaggle-digits run --config a/best.yaml" in text
    assert "processor Some CPU, 2 cores" in text
    assert "versions python 3.11.7, keras 3.13.1" in text


def test_next_command_needs_a_best_trial():
    page = search_page.page(search(failed(0)), "A search", "kaggle-digits run --config a.yaml")
    assert "kaggle-digits run" not in page


def test_figures_on_top():
    check, other = comparison(58, 31, 38, 11, 0.000142), comparison(33, 31, 12, 10, 0.832)
    cards = list(search_page._cards(replace(FRONT, check=check, against={"quick": other})))
    assert [(card.title, card.figure) for card in cards] == [
        ("best accuracy", "0.98000"),
        ("accuracy of the best on holdout folds 5, 6", "0.98450"),
        ("trials", "8"),
    ]
    assert cards[0].notes == (
        "20 of 1,000 rows wrong",
        "trial 4, 4.0 s per fit",
        "optimistic: it was picked by this figure",
    )
    assert cards[1].notes == ("31 of 2,000 rows wrong", "95 % interval 0.90000 to 1.00000")
    assert cards[1].verdicts == (
        ("good", "significantly better than the start, 58 wrong"),
        ("even", "no significant difference from quick, 33 wrong"),
    )
    # 2 (3 + 1 + 2 + 2.5 + 4 + 9 + 1.5) seconds.
    assert cards[2].notes == ("46 s of training", "6 completed, 1 stopped early, 1 failed")
    worse = search_page._cards(replace(FRONT, check=comparison(31, 58, 11, 38, 0.000142)))
    assert list(worse)[1].verdicts == (("bad", "significantly worse than the start, 31 wrong"),)


@pytest.mark.parametrize("is_demo", [True, False])
def test_badge_stands_on_demo_data_only(is_demo):
    reader = read(replace(FRONT, demo_data=is_demo))
    assert ("DEMO DATA" in reader.text) is is_demo
    assert (search_tables.DEMO[5:] in reader.text) is is_demo


def test_badge_of_other_data_that_is_not_for_upload():
    reader = read(replace(FRONT, not_for_upload="trained on MNIST"))
    assert "NOT FOR UPLOAD" in reader.text
    assert "The trials' nets are trained on MNIST." in reader.text
    assert "NOT FOR UPLOAD" not in read(FRONT).text
    demo = read(replace(FRONT, not_for_upload="it is of DEMO DATA", demo_data=True))
    assert "NOT FOR UPLOAD" not in demo.text


@pytest.mark.parametrize(
    ("p_value", "is_told"), [(0.05, True), (0.9, True), (0.0499, False), (None, False)]
)
def test_too_few_rows_are_said_and_importance_has_no_figures(p_value, is_told):
    resolution = None if p_value is None else Resolution("3", 20, p_value)
    reader = read(replace(search(*two_kinds(9)), resolution=resolution))
    assert ("TOO FEW ROWS" in reader.text) is is_told
    assert ("trial 3, on 20 rows (p = " in reader.text) is is_told
    assert ("on so few rows, figures would be noise" in reader.text) is is_told
    (importance,) = (text for text in reader.charts if text.startswith("Importance"))
    assert ("train.optimizer 100 %" in importance) is not is_told
    assert ("train.optimizer much" in importance) is is_told
    assert ("%" in importance) is not is_told


def test_rows_are_marked():
    classes = [row.split() for row, _ in read(FRONT).rows]
    assert classes == [
        ["completed", "start"],
        ["completed", "front"],
        ["completed", "front"],
        ["completed"],
        ["completed", "best", "front"],
        ["completed"],
        ["stopped-early"],
        ["failed"],
    ]


def test_cells_carry_what_their_column_is_sorted_by():
    reader = read(FRONT)
    assert [text for _, text in reader.heads] == [
        "trial",
        "accuracy",
        "wrong",
        "status",
        "log loss",
        "folds",
        "s per fit",
        "learning_rate",
        "width",
        "optimizer",
        "images/s",
        "parameters",
        "MFLOP/image",
        "memory, MiB",
        "reason",
    ]
    assert [order for order, _ in reader.heads] == ["ascending"] + 14 * ["none"]
    _, cells = reader.rows[1]
    assert cells == [
        ["1", "1front"],
        ["0.95", "0.95000"],
        ["0.05", "50 of 1,000"],
        ["completed", "completed"],
        ["0.5", "0.50000"],
        ["2", "2 of 2"],
        ["1.0", "1.0"],
        ["0.001", "0.001"],
        ["9", "9"],
        ["adamw", "adamw"],
        ["1234.5", "1,234"],
        ["5001", "5,001"],
        ["2.5", "2.50"],
        ["100.0", "100"],
        ["", ""],
    ]
    _, cells = reader.rows[7]
    assert cells[1] == ["", "\N{EN DASH}"]
    assert cells[3] == ["failed", "failed"]
    assert cells[-1] == ["first-fold1 diverged", "first-fold1 diverged"]


def test_legend_names_what_is_there():
    text = read(FRONT).text
    assert "failed, without a score" in text
    assert "front: none is both better and faster" in text
    assert "out of bounds, without a score" not in text
    assert "stopped early, at its forecast" not in read(WHOLE).text


def test_short_headings_say_their_whole_key():
    page = search_page.page(FRONT, "A search")
    assert re.search(r'<button\s+type="button" title="train.learning_rate">learning_rate<', page)


def test_a_cell_is_never_broken_and_a_wide_table_says_so():
    page = search_page.page(FRONT, "A search")
    assert re.search(r"th, td \{[^}]*white-space: nowrap", page)
    assert "Scroll the table sideways for all 15 columns" in " ".join(page.split()).replace(
        "&nbsp;", " "
    )


def test_texts_are_escaped():
    bad = "<script>alert(1)</script> & $x$"
    settings = {bad: bad}
    page = search_page.page(
        search(
            *[trial(n, settings={bad: f"{bad}{n % 2}"}, objective=n % 2) for n in range(8)],
            failed(8, bad),
            keys=(bad,),
            start=settings,
            facts={bad: bad},
            against={bad: comparison(9, 9, 1, 1, 1.0)},
        ),
        bad,
    )
    assert page.count("<script") == 1  # the page's own
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt; &amp; $x$") > 20
    reader = Reader(page)
    assert bad in reader.rows[8][1][-1][1]
    assert f"{bad}={bad}1"[:60] in reader.titles["score-point1"]
    assert any(f"{bad} {bad}0"[:60] in text for text in reader.charts)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (
            comparison(58, 31, 38, 11, 0.000142),
            "On the holdout folds 5, 6 it predicts 31 of 2,000 rows wrongly, the start 58: the "
            "best is significantly better (38 rows wrong only by the start, 11 only by the best, "
            "McNemar's exact test, p = 0.00014).",
        ),
        (
            comparison(31, 58, 11, 38, 0.000142),
            "the best is significantly worse (11 rows wrong only by the start,",
        ),
        (
            comparison(33, 31, 12, 10, 0.832),
            "no significant difference (12 rows wrong only by the start,",
        ),
    ],
)
def test_page_says_how_the_best_compares(made, words):
    text = read(search(trial(0), check=made)).text
    assert "The best is trial 0: 0.99000 (10 of 1,000 wrong) on the folds of the search" in text
    assert words in text
    other = read(search(trial(0), against={"quick": made})).text
    assert words.replace("the start", "quick") in other
    for page in (text, other):
        assert "these trained nets on these rows, not about the configs" in page
    assert "these trained nets" not in read(search(trial(0))).text


def test_best_beside_the_start():
    start = START | {"train.momentum": 0.9}
    best = trial(0, settings={"train.learning_rate": 0.001, "model.width": 16})
    found = search(best, start=start, keys=("train.learning_rate", "model.width", "train.momentum"))
    assert list(search_page._settings(found)) == [
        ("train.learning_rate", "0.001", "0.001", False),
        ("model.width", "8", "16", True),
        ("train.momentum", "0.9", "not in force", False),
    ]


def test_log_loss_is_low_where_it_is_good():
    reader = read(search(trial(0, 30), trial(1, 20), objective="log_loss"))
    assert "The best is trial 1: log loss 0.20000 (20 of 1,000 wrong)" in reader.text
    assert "log loss, nats (low is good)" in reader.text


@pytest.mark.parametrize(
    ("found", "trials"),
    [
        (search(), "nothing to compare"),
        (search(failed(0), failed(1)), "trials 2 0 s of training 2 failed"),
    ],
    ids=["empty", "only failed"],
)
def test_page_without_a_whole_trial(found, trials):
    reader = read(found)
    assert "No trial is completed yet, so there is nothing to compare." in reader.text
    assert trials in reader.text
    assert reader.charts == []
    assert "No trial has ended with a score yet." in reader.text
    assert "this needs at least 8 trials" in reader.text
    assert len(reader.rows) == len(found.trials)


def test_page_is_written_whole(tmp_path):
    path = tmp_path / "search" / "report.html"
    search_page.write_page(FRONT, "Großer Fund", path)
    assert path.read_text(encoding="utf-8") == search_page.page(FRONT, "Großer Fund")
    assert [each.name for each in path.parent.iterdir()] == ["report.html"]


def test_page_of_a_search_that_was_stopped_in_its_first_trial():
    # A fold is done, so there is a figure, but no trial is complete and none is the best.
    running = trial(0, status="running", folds=1, objective=None)
    text = search_page.page(search(running), "stopped")
    assert "<html" in text
    assert "the best is trial" not in text
