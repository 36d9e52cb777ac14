"""Import paths in a config -> a user's own Keras callbacks."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from kaggle_digits.errors import UserError

if TYPE_CHECKING:
    import keras


def load(paths: Sequence[str]) -> tuple[Callable[[], keras.callbacks.Callback], ...]:
    """Import callback factories.

    Args:
        paths: `package.module:factory` each; a factory without arguments makes a callback for one
            net.

    Returns:
        The factories.

    Raises:
        UserError: one cannot be imported, or makes nothing; names it.
    """
    factories = []
    for path in paths:
        module, _, name = path.partition(":")
        try:
            factory = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise UserError(
                f"callbacks: {path}: cannot be imported ({error}); correct it, or put its folder "
                "on PYTHONPATH"
            ) from None
        if not callable(factory):
            raise UserError(f"callbacks: {path}: expected a class or function, found {factory!r}")
        factories.append(factory)
    return tuple(factories)
