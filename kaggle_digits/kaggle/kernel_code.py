"""The one code file of a kernel: a script or a notebook that carries this package and a config.

What it does on Kaggle is `in_kernel`; `kernel_folder` puts it into a folder for the upload.
"""

from __future__ import annotations

import base64
import bz2
import io
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from kaggle_digits.config import loading
from kaggle_digits.config.schema import Config
from kaggle_digits.errors import UserError
from kaggle_digits.kaggle.package_files import package_files
from kaggle_digits.report.rendering import templates
from kaggle_digits.system.environment import package_versions

# Characters of a line of base 85. In a notebook, whose cell of it is hidden, the end of each line
# takes two more.
SCRIPT_LINE, NOTEBOOK_LINE = 100, 1000
CELL = re.compile(r"^# %%(?: \[(markdown|hidden)\])?\n", re.MULTILINE)
HIDDEN = {"jupyter": {"source_hidden": True}, "_kg_hide-input": True}  # Jupyter's word and Kaggle's


@dataclass(frozen=True)
class KernelCode:
    """What a kernel's code file says and does.

    Attributes:
        title: its heading.
        command: the command that makes this file.
        config: the config of its run.
        config_name: what that is called.
        time_limit: of the run, such as 8h30m.
        flags: names of further options of `run` that are set, as in Python: `allow_leak`.
        keras_backend: what Keras runs on; "" for the image's own choice.
    """

    title: str
    command: str
    config: Config
    config_name: str
    time_limit: str
    flags: tuple[str, ...] = ()
    keras_backend: str = ""

    def script(self) -> str:
        """Return the Python script; equal code and package give equal bytes."""
        return self._render("script.py.jinja", SCRIPT_LINE)

    def notebook(self) -> str:
        """Return the notebook as JSON; equal code and package give equal bytes.

        Raises:
            UserError: nbformat is not installed.
        """
        try:
            import nbformat
            from nbformat import v4
        except ImportError:
            raise UserError(
                "--notebook: nbformat is not installed; install it with pip install nbformat"
            ) from None

        _, *parts = CELL.split(self._render("notebook.py.jinja", NOTEBOOK_LINE))
        cells = []
        for number, (kind, text) in enumerate(zip(parts[::2], parts[1::2], strict=True), 1):
            new = v4.new_markdown_cell if kind == "markdown" else v4.new_code_cell
            metadata = HIDDEN if kind == "hidden" else {}
            cells.append(new(text.strip("\n"), id=f"cell-{number}", metadata=metadata))
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
        return nbformat.writes(v4.new_notebook(cells=cells, metadata=metadata)) + "\n"

    def _render(self, template: str, line: int) -> str:
        found = templates("kaggle_digits.kaggle")
        found.filters["in_quotes"] = _in_quotes
        words = [f"--{flag.replace('_', '-')}" for flag in self.flags]
        package = base64.b85encode(packed()).decode("ascii")
        return found.get_template(template).render(
            vars(self)
            | {
                "version": package_versions().get("kaggle-digits", ""),
                "config": loading.dump(self.config, compact=True),
                "run_options": json.dumps(["--time-limit", self.time_limit, *words]),
                "package": "\n".join(re.findall(f".{{1,{line}}}", package)),
            }
        )


@cache
def packed() -> bytes:
    """Return this package as a .tar.bz2, with what says its version; always the same bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in sorted(_files()):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))
    return bz2.compress(buffer.getvalue())  # of text smaller than xz


def _files() -> Iterator[tuple[str, bytes]]:
    """Yield (path within the archive, content) of each file that is carried."""
    yield from package_files()
    if version := package_versions().get("kaggle-digits"):
        text = f"Metadata-Version: 2.1\nName: kaggle-digits\nVersion: {version}\n"
        yield f"kaggle_digits-{version}.dist-info/METADATA", text.encode()


def _in_quotes(text: str) -> str:
    """Return a text as it is written between three double quotes in Python."""
    return text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
