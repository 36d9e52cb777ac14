"""The code file of a kernel: what it carries and how it is written."""

import ast
import base64
import io
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

import kaggle_digits
from kaggle_digits.config import loading
from kaggle_digits.errors import UserError
from kaggle_digits.kaggle import kernel_code
from kaggle_digits.kaggle.kernel_code import KernelCode
from kaggle_digits.kaggle.package_files import CONFIGS

PACKAGE = Path(kaggle_digits.__file__).parent
COMMAND = 'kaggle-digits kernel build --set \'x="""\\n"\''
CONFIG = loading.load("standard", {"seed": 7})
CODE = KernelCode("kaggle digits mine", COMMAND, CONFIG, "mine", "90m", ("allow_leak",))


def constants(text):
    """Return the constants that are set at the top of a script or a cell."""
    found = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                found[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                continue
    return found


def test_the_package_is_carried_whole():
    with tarfile.open(fileobj=io.BytesIO(kernel_code.packed())) as archive:
        content = {each.name: archive.extractfile(each).read() for each in archive.getmembers()}
    files = [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.html"), *PACKAGE.rglob("*.jinja")]
    files += PACKAGE.rglob("LICENSE")
    files = [path for path in files if ".ipynb_checkpoints" not in path.parts]
    files += [PACKAGE / "configs" / f"{name}.yaml" for name in CONFIGS]
    expected = {path.relative_to(PACKAGE.parent).as_posix(): path for path in files}
    version = f"kaggle_digits-{kaggle_digits.__version__}.dist-info/METADATA"
    assert content.keys() == {*expected, version}
    assert all(content[name] == path.read_bytes() for name, path in expected.items())
    assert f"Version: {kaggle_digits.__version__}\n" in content[version].decode()


def test_equal_options_give_equal_bytes():
    once = CODE.script(), CODE.notebook()
    kernel_code.packed.cache_clear()
    assert (CODE.script(), CODE.notebook()) == once


def test_a_script_says_how_it_was_made_and_has_its_config_as_text():
    script = CODE.script()
    assert COMMAND in ast.get_docstring(ast.parse(script))
    found = constants(script)
    assert found["CONFIG"] == loading.dump(CONFIG, compact=True)
    assert found["OPTIONS"] == ["--time-limit", "90m", "--allow-leak"]
    assert base64.b85decode(found["PACKAGE"].replace("\n", "")) == kernel_code.packed()
    assert max(map(len, script.splitlines())) <= 100


def test_a_notebook_is_valid_and_hides_the_package():
    notebook = nbformat.reads(CODE.notebook(), 4)
    nbformat.validate(notebook)
    assert COMMAND in notebook.cells[0].source
    assert notebook.cells[0].cell_type == "markdown"
    [hidden] = [cell for cell in notebook.cells if cell.metadata]
    assert (
        base64.b85decode(constants(hidden.source)["PACKAGE"].replace("\n", ""))
        == kernel_code.packed()
    )
    found = constants(notebook.cells[1].source)
    assert found == {"TIME_LIMIT": "90m", "CONFIG": loading.dump(CONFIG, compact=True)}
    [training] = [cell for cell in notebook.cells if "kd.run(" in cell.source]
    assert "allow_leak=True," in training.source
    assert not any(cell.source != cell.source.strip("\n") for cell in notebook.cells)


def test_a_notebook_needs_nbformat_and_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "nbformat", None)
    with pytest.raises(UserError, match="pip install nbformat"):
        CODE.notebook()


@pytest.mark.parametrize("kind", ["script", "notebook"])
def test_the_keras_backend_is_set_where_one_is_wanted(kind):
    assert "KERAS_BACKEND" not in getattr(CODE, kind)()
    text = getattr(replace(CODE, keras_backend="jax"), kind)()
    assert 'os.environ["KERAS_BACKEND"] = "jax"' in text.replace('\\"', '"')
