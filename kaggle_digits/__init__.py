"""From Kaggle's Digit Recognizer files to a ready-to-upload submission.

In a notebook: `import kaggle_digits as kd`, then `run = kd.run("quick")`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kaggle_digits.api import (
        classify,
        compare,
        ensemble,
        evaluate,
        list_runs,
        load_config,
        load_run,
        run,
        tune,
    )
    from kaggle_digits.errors import UserError
    from kaggle_digits.results.evaluation import Evaluation
    from kaggle_digits.runs.run import Run
    from kaggle_digits.tuning.search_result import SearchResult

__all__ = [
    "Evaluation",
    "Run",
    "SearchResult",
    "UserError",
    "__version__",
    "classify",
    "compare",
    "ensemble",
    "evaluate",
    "list_runs",
    "load_config",
    "load_run",
    "run",
    "tune",
]

_WHERE = {
    "Evaluation": "kaggle_digits.results.evaluation",
    "Run": "kaggle_digits.runs.run",
    "SearchResult": "kaggle_digits.tuning.search_result",
    "UserError": "kaggle_digits.errors",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: the command line starts without them."""
    import importlib
    import importlib.metadata

    if name == "__version__":
        return importlib.metadata.version("kaggle-digits")
    if name in __all__:
        return getattr(importlib.import_module(_WHERE.get(name, "kaggle_digits.api")), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
