"""The frame of every page, filled in by a template of the test's own."""

import re

import pytest
from jinja2 import ChoiceLoader, DictLoader, UndefinedError

from kaggle_digits.report import pages
from kaggle_digits.report.charts import PALETTE
from kaggle_digits.report.pages import Card, Cell, Table, cell_of
from kaggle_digits.report.rendering import templates

PAGE = """{% extends "page.html" %}
{% from "macros.html" import cards_of, facts_of, table_of %}
{% block main %}{{ cards_of(cards) }}{{ facts_of({"rows": "1, 2"}) }}
{% if table is defined %}{{ table_of(table, "mine", "All & more") }}{% endif %}{% endblock %}
"""


@pytest.fixture(autouse=True)
def own_page(monkeypatch):
    def with_own_page(package):
        environment = templates(package)
        environment.loader = ChoiceLoader([environment.loader, DictLoader({"own.html": PAGE})])
        return environment

    monkeypatch.setattr(pages, "templates", with_own_page)


def test_cards_and_facts():
    card = Card("accuracy", "0.99", ("12 wrong",), (("good", "better"),))
    page = pages.render("own.html", "A <page>", demo=None, cards=[card])
    assert "<title>A &lt;page&gt;</title>" in page
    assert '<dt>accuracy</dt>\n<dd class="figure">0.99</dd>' in page
    assert '<dd class="tone good">' in page
    assert '<span class="whole">1,</span>' in page
    assert "DEMO DATA" not in page


def test_demo_data_is_said_in_the_title_and_on_top():
    page = pages.render("own.html", "A page", demo="not for upload", cards=[])
    assert "<title>DEMO DATA: A page</title>" in page
    assert page.index("DEMO DATA</b>") < page.index("<main>")
    assert "Not\n" in page  # a sentence of its own


def test_both_colour_schemes_and_nothing_from_elsewhere():
    page = pages.render("own.html", "A page", demo=None, cards=[])
    for name, (light, dark) in PALETTE.items():
        assert f"--{name}: {light};" in page
        assert f"--{name}: {dark};" in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_value_that_is_missing_is_an_error():
    with pytest.raises(UndefinedError):
        pages.render("own.html", "A page", demo=None)


def test_tables_can_be_sorted_and_name_their_rows():
    rows = [[Cell("1,000", 1000), cell_of(0.5, ".1f"), Cell("x", "x"), cell_of(None, "")]]
    table = Table(("row", "size", "name", "more"), rows, ["data:a picture"])
    assert table.is_numeric == [True, True, False, True]
    assert Table(("row",), []).is_numeric == []
    page = pages.render("own.html", "A page", demo=None, cards=[], table=table)
    assert '<caption id="mine-caption">All &amp; more</caption>' in page
    assert page.count('<th scope="col" aria-sort="none"') == 4
    assert re.search(r'<th scope="row" data-key="1000"><img [^>]*src="data:a picture"', page)
    assert '<td class="number" data-key="0.5">0.5</td>' in page
    assert '<td data-key="x">x</td>' in page
    assert '<td class="number" data-key="">' in page


def test_paper_is_light_and_shows_all():
    page = pages.render("own.html", "A page", demo=None, cards=[])
    assert "@media screen and (prefers-color-scheme: dark)" in page
    assert "@media print" in page
    assert "beforeprint" in page


def test_cells():
    assert (cell_of(0.123456, ".3f").text, cell_of(0.123456, ".3f").key) == ("0.123", 0.123456)
    assert (cell_of(None, ".3f").text, cell_of(None, ".3f").key) == ("\N{EN DASH}", None)
