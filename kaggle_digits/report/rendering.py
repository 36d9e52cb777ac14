"""Jinja as all templates of this package are filled with it; `kaggle` has some too."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


def templates(package: str, folder: str = "templates") -> Environment:
    """Return the templates in a folder of a package.

    A line with nothing but a tag leaves nothing behind, and a name without a value is an error.
    Only what is put into HTML is escaped.

    Args:
        package: such as "kaggle_digits.report".
        folder: within the package.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    return Environment(
        loader=PackageLoader(package, folder),
        autoescape=select_autoescape(["html"], default_for_string=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
