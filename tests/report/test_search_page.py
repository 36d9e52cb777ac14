import re
from html.parser import HTMLParser

import numpy as np
import pytest
from found import FRONT, START, comparison, failed, search, trial, two_kinds

from kaggle_digits.report import search_page


class Reader(HTMLParser):
    """Reads a page.

    Attributes:
        ids: of all elements.
        references: ids that elements refer to.
        text: all of it.
        titles: id of a point -> what shows where the mouse rests on it.
        heads: (aria-sort, text) of each heading of the table of all trials.
        rows: (class, cells) of each of its rows; a cell is [data-key, text].
    """

    def __init__(self, page):
        super().__init__()
        self.ids, self.references, self.text = [], [], ""
        self.titles, self.heads, self.rows = {}, [], []
        self._open, self._in_trials = [], False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self._open.append((tag, values))
        self.ids += [values["id"]] if "id" in values else []
        for value in values.values():
            self.references += re.findall(r"^#(.*)|url\(#([^)]*)\)", value or "")
        if tag == "table":
            self._in_trials = values["class"] == "trials"
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
        self.text += data
        tags = [tag for tag, _ in self._open]
        if tags[-1:] == ["title"] and "svg" in tags:
            self.titles[self._open[-2][1]["id"]] = data
        elif self._in_trials and {"th", "td"} & set(tags):
            cell = self.heads[-1] if "thead" in tags else self.rows[-1][1][-1]
            cell[1] += data.strip()


def read(found, title="A search"):
    return Reader(search_page.page(found, title))


def test_equal_records_give_equal_pages():
    many = search(*two_kinds(9))
    assert search_page.page(many, "A search") == search_page.page(many, "A search")


def test_page_refers_to_nothing_outside():
    page = search_page.page(search(*two_kinds(9)), "A search")
    assert page.count("<svg") == 2
    for address in ("http:", "https:", "//", "@import", "src="):
        assert address not in page, address
    reader = Reader(page)
    assert len(set(reader.ids)) == len(reader.ids)
    assert reader.references
    assert {one or other for one, other in reader.references} <= set(reader.ids)


def test_page_does_not_depend_on_a_users_own_style():
    import matplotlib

    page = search_page.page(FRONT, "A search")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black"}):
        assert search_page.page(FRONT, "A search") == page
        assert matplotlib.rcParams["font.size"] == 30


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


def test_front_is_a_step_line_through_its_points(monkeypatch):
    figures = []
    monkeypatch.setattr(search_page, "_svg", lambda figure: figures.append(figure) or "<svg/>")
    search_page.page(FRONT, "A search")
    (axes,) = figures[0].axes
    line, *points = axes.lines
    assert line.get_drawstyle() == "steps-post"
    np.testing.assert_allclose(line.get_xydata(), [(1, 0.95), (2, 0.96), (4, 0.98)])
    drawn = {point.get_gid(): (*point.get_xydata()[0], point.get_color()) for point in points}
    assert len(drawn) == 7  # all but the failed one
    assert drawn["point0"] == (1.5, 0.93, "white")  # stopped early, at its forecast
    assert (3.0, pytest.approx(0.91), search_page.LOOKS["start"]["color"]) in drawn.values()
    assert (4.0, pytest.approx(0.98), search_page.LOOKS["best"]["color"]) in drawn.values()
    assert (9.0, pytest.approx(0.98), search_page.LOOKS["completed"]["color"]) in drawn.values()
    labels = [(text.get_text(), text.get_va(), text.get_ha()) for text in axes.texts]
    # Best above, start below; both towards the middle of the picture.
    assert labels == [("start: trial 0", "top", "left"), ("best: trial 4", "bottom", "right")]


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
def test_scores_far_apart_are_drawn_by_their_factors(monkeypatch, objective, errors, scale):
    figures = []
    monkeypatch.setattr(search_page, "_svg", lambda figure: figures.append(figure) or "<svg/>")
    trials = [trial(number, each) for number, each in enumerate(errors)]
    search_page.page(search(*trials, objective=objective), "A search")
    (axes,) = figures[0].axes
    assert axes.get_yscale() == scale
    assert axes.get_ylim()[1] <= 1


def test_points_say_what_they_are():
    titles = list(read(FRONT).titles.values())
    assert titles[0] == (
        "trial 6, stopped early: 0.97000 (30 of 1,000 wrong), forecast 0.93000, 1.5 s a fit; "
        "model.width=14"
    )
    assert titles[-1].startswith("trial 4, completed: 0.98000 (20 of 1,000 wrong), 4.0 s a fit;")


def test_cells_carry_what_their_column_is_sorted_by():
    reader = read(FRONT)
    assert [text for _, text in reader.heads] == [
        "trial",
        "status",
        *START,
        "folds",
        "errors / rows",
        "accuracy",
        "log loss",
        "seconds per fit",
        "images/s",
        "parameters",
        "MFLOP/image",
        "peak memory, MiB",
    ]
    assert [order for order, _ in reader.heads] == ["ascending"] + 13 * ["none"]
    _, cells = reader.rows[1]
    assert cells == [
        ["1", "1front"],
        ["completed", "completed"],
        ["0.001", "0.001"],
        ["9", "9"],
        ["adamw", "adamw"],
        ["2", "2/2"],
        ["0.05", "50 / 1,000"],
        ["0.95", "0.95000"],
        ["0.5", "0.50000"],
        ["1.0", "1.0"],
        ["1234.5", "1,234"],
        ["5001", "5,001"],
        ["2.5", "2.50"],
        ["100.0", "100"],
    ]
    _, cells = reader.rows[7]
    assert cells[1] == ["failed", "failedfirst-fold1 diverged"]
    assert cells[6] == ["", "\N{EN DASH}"]


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
    assert bad in reader.rows[8][1][1][1]
    assert f"{bad}={bad}1"[:60] in reader.titles["score-point1"]


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (
            comparison(58, 31, 38, 11, 0.000142),
            "On the holdout folds 5, 6 it predicts 31 of 2,000 rows wrongly, the start 58: the "
            "best is significantly better (p = 0.00014, McNemar's exact test; 38 rows that only "
            "the start gets wrong, 11 that only the best gets wrong).",
        ),
        (comparison(31, 58, 11, 38, 0.000142), "the best is significantly worse (p = 0.00014,"),
        (comparison(33, 31, 12, 10, 0.832), "no significant difference (p = 0.83,"),
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
        (search(), "none yet"),
        (search(failed(0), failed(1)), "2 failed"),
    ],
    ids=["empty", "only failed"],
)
def test_page_without_a_whole_trial(found, trials):
    reader = read(found)
    assert "No trial is completed yet, so there is nothing to compare." in reader.text
    assert trials in reader.text
    assert "No trial has ended with a score yet." in reader.text
    assert "this needs at least 8 trials" in reader.text
    assert len(reader.rows) == len(found.trials)


def test_page_is_written_whole(tmp_path):
    path = tmp_path / "search" / "report.html"
    search_page.write_page(FRONT, "Großer Fund", path)
    assert path.read_text(encoding="utf-8") == search_page.page(FRONT, "Großer Fund")
    assert [each.name for each in path.parent.iterdir()] == ["report.html"]
