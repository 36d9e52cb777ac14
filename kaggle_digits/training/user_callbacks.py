"""Import paths in a config -> a user's own Keras callbacks."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import partial
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
        UserError: one cannot be imported, or is nothing that can be called; names it. What a
            factory makes raises it too, once it is called, unless it is a callback.
    """
    factories = []
    for path in paths:
        module, _, name = path.partition(":")
        try:
            factory = getattr(importlib.import_module(module), name)
        except Exception as error:  # whatever the module's own lines raise
            raise UserError(
                f"callbacks: {path}: cannot be imported ({error}); correct it, or put its folder "
                "on PYTHONPATH"
            ) from None
        if not callable(factory):
            raise UserError(f"callbacks: {path}: expected a class or function, found {factory!r}")
        factories.append(partial(_make, path, factory))
    return tuple(factories)


def _make(path: str, factory: Callable[[], object]) -> keras.callbacks.Callback:
    import keras

    try:
        made = factory()
    except TypeError as error:
        raise UserError(
            f"callbacks: {path}: cannot be called ({error}); it gets no arguments"
        ) from error
    if not isinstance(made, keras.callbacks.Callback):
        raise UserError(f"callbacks: {path}: expected a Keras callback, made {made!r}")
    return made
