"""`kaggle-digits bench`."""

from __future__ import annotations

from kaggle_digits.cli.options import ConfigOption, DataOption


def bench(config: ConfigOption = "quick", data: DataOption = None) -> None:
    """Measure this machine against bare Keras and Deotte's net; estimate each config's time."""
    from kaggle_digits.config import loading
    from kaggle_digits.diagnostics import benchmark
    from kaggle_digits.system.console import Reporter

    reporter = Reporter()
    resolved, name = loading.resolve(config, (), reporter.say)
    benchmark.run(resolved, name, data, reporter)
