import pytest
from jinja2 import UndefinedError

from kaggle_digits.report import rendering

TEMPLATE = """\
{% if shown %}
<{{ name }}>
{% endif %}
"""


@pytest.fixture
def templates(tmp_path, monkeypatch):
    """Return the templates of a package that has the same one under two names."""
    folder = tmp_path / "some_package" / "pages"
    folder.mkdir(parents=True)
    (tmp_path / "some_package" / "__init__.py").touch()
    for name in ("page.html", "script.py.jinja"):
        (folder / name).write_text(TEMPLATE)
    monkeypatch.syspath_prepend(tmp_path)
    return rendering.templates("some_package", "pages")


def test_only_html_is_escaped_and_tags_leave_no_lines(templates):
    values = {"shown": True, "name": "a & b"}
    assert templates.get_template("script.py.jinja").render(values) == "<a & b>\n"
    assert templates.get_template("page.html").render(values) == "<a &amp; b>\n"


def test_a_value_that_is_missing_is_an_error(templates):
    with pytest.raises(UndefinedError, match="'name' is undefined"):
        templates.get_template("page.html").render(shown=True)


@pytest.mark.parametrize(
    ("package", "folder", "expected"),
    [
        ("kaggle_digits.report", "templates", "search.html"),
        ("kaggle_digits.kaggle", "templates", "script.py.jinja"),
        ("kaggle_digits.kaggle", "templates/archive", "train.py.jinja"),
    ],
)
def test_templates_of_this_package_are_found(package, folder, expected):
    assert expected in rendering.templates(package, folder).list_templates()
