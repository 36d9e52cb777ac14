"""Records of searches made by hand, for tests of what is made from them."""

from kaggle_digits.results.search_records import (
    HoldoutComparison,
    HoldoutScore,
    LearningCurve,
    Objective,
    Resolution,
    SearchRecord,
    TrialResult,
)

START = {"train.learning_rate": 0.001, "model.width": 8, "train.optimizer": "adamw"}


def trial(number, errors=10, seconds=2.0, *, settings=None, **others):
    """Make a completed trial on 1,000 rows."""
    whole = {
        "trial": str(number),
        "candidate": f"candidate{number}",
        "settings": START | {"model.width": 8 + number} if settings is None else settings,
        "status": "completed",
        "folds": 2,
        "folds_planned": 2,
        "rows": 1_000,
        "errors": errors,
        "accuracy": 1 - errors / 1_000,
        "log_loss": errors / 100,
        "objective": 1 - errors / 1_000,
        "seconds_per_fit": seconds,
        "seconds": 2 * seconds,
        "images_per_second": 1_234.5,
        "parameters": 5_000 + number,
        "flops": 2_500_000,
        "peak_memory_bytes": 100 * 2**20,
    }
    return TrialResult(**whole | others)


def failed(number, reason="first-fold1 diverged", **others):
    return TrialResult(str(number), f"candidate{number}", dict(START), "failed", reason, **others)


def search(*trials, objective="accuracy", **others):
    values = {"objective": Objective(objective), "keys": tuple(START), "start": START} | others
    return SearchRecord(trials=trials, **values)


def comparison(start_errors, best_errors, only_start, only_best, p_value):
    def score(errors):
        return HoldoutScore(2_000, errors, 1 - errors / 2_000, (0.9, 1.0), 3.0)

    return HoldoutComparison(
        (5, 6), score(start_errors), score(best_errors), only_start, only_best, p_value
    )


FRONT = search(
    trial(0, 90, 3.0, settings=START),
    trial(1, 50, 1.0),
    trial(2, 40, 2.0),
    trial(3, 45, 2.5),  # slower and worse than trial 2
    trial(4, 20, 4.0),
    trial(5, 20, 9.0),  # as good as trial 4, slower
    trial(6, 30, 1.5, status="stopped early", reason="41 rows behind", folds=1, objective=0.93),
    failed(7),
)


def two_kinds(count, **others):
    """Make trials of which every second one has another optimizer, and is better for it."""
    return [
        trial(
            number,
            settings=START | {"train.optimizer": ("adamw", "sgd")[number % 2]},
            **{"objective": (0.9, 0.95)[number % 2]} | others,
        )
        for number in range(count)
    ]


# With everything that a page can show.
WHOLE = search(
    *two_kinds(9),
    failed(9),
    check=comparison(58, 31, 38, 11, 0.000142),
    facts={"oracle": "random"},
    log_keys=("train.learning_rate",),
    resolution=Resolution("2", 1_000, 0.01),
    curves={
        "cnn-fold1": LearningCurve((0.5, 0.25), (0.75, 0.875)),
        "cnn-fold2": LearningCurve((0.625, 0.375), (0.5, 0.75)),
    },
    machine={"processor": "Some CPU, 2 cores", "versions": "python 3.11.7, keras 3.13.1"},
)
