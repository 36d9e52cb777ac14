from measured_frontier import KIT, OTHER, measured


def test_the_cheapest_complete_point_that_reaches_a_level():
    frontier = measured()
    assert frontier.cheapest(KIT, 0.990).name == "short"
    assert frontier.cheapest(KIT, 0.995).name == "middle"
    assert frontier.cheapest(KIT, 0.997) is None  # the one that does is not complete
    assert frontier.cheapest(OTHER, 0.995).name == "theirs"
    assert frontier.systems() == [KIT, OTHER]
