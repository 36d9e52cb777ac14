"""Import paths in a config -> a user's own Keras callbacks."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from contextlib import suppress
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
        UserError: one cannot be imported, or cannot be called so; names it.
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
        with suppress(ValueError):  # some of what is written in C does not say what it takes
            try:
                inspect.signature(factory).bind()
            except TypeError as error:
                raise UserError(
                    f"callbacks: {path}: is called without arguments: {error}"
                ) from None
        factories.append(checked(path, factory))
    return tuple(factories)


def checked(name: str, factory: Callable[[], object]) -> Callable[[], keras.callbacks.Callback]:
    """Return a factory that refuses, in one line with its name, to make anything but a callback."""
    return partial(_made_by, name, factory)


def _made_by(name: str, factory: Callable[[], object]) -> keras.callbacks.Callback:
    import keras

    made = factory()
    if not isinstance(made, keras.callbacks.Callback):
        raise UserError(f"callbacks: {name}: expected a Keras callback, made {made!r}")
    return made
