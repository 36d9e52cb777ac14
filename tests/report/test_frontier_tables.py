import dataclasses

from measured_frontier import KIT, OTHER, measured

from kaggle_digits.report import frontier_tables


def cells(table):
    return list(zip(*(column.cells for column in table.columns), strict=True))


def test_points_table():
    rows = cells(frontier_tables.points_table(measured()))
    assert [row[1] for row in rows] == ["short", "best", "middle", "long", "theirs"]
    assert rows[0] == (
        *(KIT, "short", "5", "0.99100 ± 0.00050", "378 of 42,000"),
        *("1 min 0 s", "1.18 million", "0.09"),
    )
    assert rows[1][2] == "2, unfinished"


def test_demo_data_is_called_so():
    table = frontier_tables.points_table(measured())
    assert table.title == "What every second buys"
    demo = dataclasses.replace(measured(), demo_data=True)
    table = frontier_tables.points_table(demo)
    assert table.title == "DEMO DATA, these figures mean nothing: What every second buys"
    assert frontier_tables.frontier_picture(demo) != frontier_tables.frontier_picture(measured())


def test_levels_table():
    rows = cells(frontier_tables.levels_table(measured()))
    assert [row[:3] for row in rows[4:8]] == [
        ("99.5%", KIT, "middle"),
        ("", OTHER, "theirs"),
        ("99.6%", KIT, "-"),
        ("", OTHER, "-"),
    ]
    assert rows[4][3:] == ("0.99510", "5 min 0 s", "1.18 million", "0.09")


def test_picture_is_a_png_and_the_same_again():
    first = frontier_tables.frontier_picture(measured())
    assert first.startswith(b"\x89PNG")
    assert first == frontier_tables.frontier_picture(measured())
