"""`kaggle-digits config`: the shipped configs, to list, to read whole and to copy."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from kaggle_digits.cli.options import SetOption, help_without_command
from kaggle_digits.errors import UserError, explained

YAML = (".yaml", ".yml")
LONG = 40  # characters: quick's value is not beside a setting if it has more

app = typer.Typer(
    rich_markup_mode=None,
    callback=help_without_command,
    invoke_without_command=True,
    help="List the shipped configs, show one with all settings, or copy it.",
)


@app.command(name="list")
def list_() -> None:
    """List the shipped configs."""
    from kaggle_digits.config import loading
    from kaggle_digits.system.console import fit_to_terminal

    for title, names in (("", loading.shipped_names()), ("\nOther systems", loading.peer_names())):
        if title:
            typer.echo(title)
        for name in names:
            line = f"{name:{max(map(len, names))}}  {loading.shipped_summary(name)}"
            typer.echo(fit_to_terminal(line, sys.stdout))
    typer.echo("\nkaggle-digits config show NAME   prints all settings of one")
    typer.echo("kaggle-digits config copy NAME   makes a copy, to change")


@app.command()
def show(
    name: Annotated[
        str, typer.Argument(help="A shipped config or the path of a YAML file.")
    ] = "quick",
    set_: SetOption = None,
    changes: Annotated[
        bool, typer.Option("--changes", help="Print only what differs from quick.")
    ] = False,
) -> None:
    """Print all settings of a config, and which differ from quick."""
    from kaggle_digits.config import loading

    config = loading.load(name, set_ or (), lambda line: typer.echo(f"# {line}", err=True))
    found = loading.differences(config, loading.load("quick"))
    lines = [
        f"{key}: {loading.in_line(value)}{_beside(loading.in_line(usual), usual is None)}"
        for key, (value, usual) in found.items()
    ]
    if changes:
        typer.echo("\n".join(lines) or "# Nothing differs from quick.")
        return
    title = f"# {name}{' with --set' if set_ else ''}, all settings."
    if lines:
        title += " What differs from quick:\n" + "\n".join(f"#   {line}" for line in lines)
    typer.echo(f"{title}\n\n{loading.dump(config, compact=True)}", nl=False)


def _beside(usual: str, is_new: bool) -> str:
    return "" if is_new or len(usual) > LONG else f" # quick: {usual}"


@app.command()
def copy(
    name: Annotated[str, typer.Argument(help="A shipped config.")],
    path: Annotated[
        Path | None, typer.Argument(help="The new file or its folder. Without it: NAME.yaml here.")
    ] = None,
) -> None:
    """Copy a shipped config with its comments, to change it."""
    from kaggle_digits.config import loading

    text, place = loading.shipped_text(name), path or Path()
    if place.is_dir():
        place /= f"{Path(name).name}.yaml"
    if place.suffix not in YAML:
        raise UserError(f"{place}: expected a file that ends in .yaml; give another name")
    if place.exists():
        raise UserError(f"{place}: this file is there already; give another name")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    except OSError as error:
        raise explained(error) from error
    typer.echo(f"{place}: a copy of {name}; change it, then")
    typer.echo(f"  kaggle-digits run --config {shlex.quote(str(place))}")
