"""A frontier made by hand, for the tests of its record and of its tables."""

from kaggle_digits.results.frontier_record import Frontier, FrontierPoint

KIT, OTHER = "kaggle-digits", "another net"


def point(name, system=KIT, **changes):
    values = {
        "name": name,
        "system": system,
        "config": "quick",
        "overrides": (),
        "complete": True,
        "folds": 5,
        "accuracy": 0.994,
        "accuracy_std": 0.0005,
        "errors": 252,
        "rows": 42_000,
        "seconds": 300.0,
        "image_passes": 1_176_000,
        "training_flops": 8.7e13,
    }
    return FrontierPoint(**values | changes)


def measured():
    points = (
        point("short", accuracy=0.991, seconds=60.0, errors=378),
        point("middle", accuracy=0.9951, seconds=300.0),
        point("long", accuracy=0.9955, seconds=900.0),
        point("best", accuracy=0.9972, seconds=200.0, folds=2, complete=False),
        point("theirs", OTHER, accuracy=0.9952, seconds=1200.0),
    )
    return Frontier(points, {"processor": "toy"}, "nowhere", "2026-11-29")
