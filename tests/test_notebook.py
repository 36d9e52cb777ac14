"""A notebook of ten cells that uses the Python API on demo data, executed by nbclient."""

import sys
from ast import literal_eval
from collections import Counter

import nbformat
import pytest
from nbclient import NotebookClient

CELLS = {
    "config": """%matplotlib inline
import kaggle_digits as kd
config = kd.load_config("quick", {
    "model.stages": [{"width": 8, "kernel": 5, "stride": 2, "pool": "last"}],
    "folds.count": 2, "train.epochs": 4, "augment.elastic.p": 0,
})
config.train.epochs, config.folds.count""",
    "run": 'run = kd.run(config, out="run", time_limit="1h")\nrun',
    "metrics": "run.metrics.oof_accuracy, run.metrics.oof_errors, run.metrics.fits_finished",
    "curves": """losses = run.history.pivot_table("loss", index="epoch", columns=["member", "fold"])
losses.plot(ylabel="loss");""",
    "members": "run.members",
    "confusion": """table = run.oof.groupby(["label", "predicted"]).size().unstack(fill_value=0)
int(table.to_numpy().trace()) + run.metrics.oof_errors, table.shape""",
    "predict": """from sklearn.datasets import load_digits
import numpy as np
images = np.kron(load_digits().images[:5] * 255 / 16, np.ones((3, 3))).round()
run.predict(np.pad(images, ((0, 0), (2, 2), (2, 2)))).shape""",
    "submission": "run.submission",
    "load again": 'kd.load_run("run").metrics == run.metrics',
    "refused": 'kd.run("quick", overrides={"train.epoch": 3})',
}
OF_THE_DISPLAY = ("display_data", "update_display_data")


class Client(NotebookClient):
    """Counts the messages of output; what a saved notebook holds does not show their number."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.seen, self.drawn = Counter(), []

    def process_message(self, msg, cell, cell_index):
        kind = msg["msg_type"]
        self.seen[cell_index, kind] += kind == "stream"
        if kind in OF_THE_DISPLAY and "display_id" in msg["content"].get("transient", {}):
            self.seen[cell_index, kind] += 1
            self.drawn.append((cell_index, msg["content"]["data"]))
        return super().process_message(msg, cell, cell_index)


class Executed:
    """An executed notebook: the outputs by the cell's name, and what its displays have shown."""

    def __init__(self, folder):
        cells = [nbformat.v4.new_code_cell(source) for source in CELLS.values()]
        cells[-1].metadata["tags"] = ["raises-exception"]
        client = Client(nbformat.v4.new_notebook(cells=cells), timeout=600, kernel_name="python3")
        client.execute(cwd=str(folder))
        self.outputs = dict(zip(CELLS, (cell.outputs for cell in cells), strict=True))
        self.seen, self.drawn = client.seen, client.drawn

    def said(self, cell):
        return "".join(out.text for out in self.outputs[cell] if out.output_type == "stream")

    def result(self, cell):
        [data] = [out.data for out in self.outputs[cell] if out.output_type == "execute_result"]
        return data

    def displays(self, cell):
        return [out.data for out in self.outputs[cell] if out.output_type == "display_data"]


@pytest.fixture(scope="module")
def notebook_folder(tmp_path_factory):
    """A folder for notebooks whose kernels know nothing of this machine's data and cache."""
    folder = tmp_path_factory.mktemp("notebook")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KAGGLE_DIGITS_CACHE", str(folder / "cache"))
        for name in ("KAGGLE_DIGITS_DATA", "KAGGLE_KERNEL_RUN_TYPE"):
            patch.delenv(name, raising=False)
        yield folder


@pytest.fixture(scope="module")
def notebook(notebook_folder):
    """Execute the notebook."""
    return Executed(notebook_folder)


def test_only_the_refused_cell_fails_and_says_why_in_one_line(notebook):
    errors = [
        (cell, output)
        for cell, outputs in notebook.outputs.items()
        for output in outputs
        if output.output_type == "error"
    ]
    [(cell, error)] = errors
    assert (cell, error.ename) == ("refused", "UserError")
    assert error.traceback == [f"UserError: {error.evalue}"]
    assert error.evalue.startswith("train.epoch: unknown key, expected one of epochs")


def test_progress_is_plain_lines(notebook):
    lines = notebook.said("run")
    assert "DEMO DATA" in lines
    for fold in (1, 2):
        for epoch in (1, 2, 3, 4):
            assert lines.count(f"cnn fold {fold}, epoch {epoch}/4: loss ") == 1
    assert "\n  out-of-fold accuracy  0." in lines
    assert "\x1b" not in lines
    assert "<" not in lines
    errors = [out for out in notebook.outputs["run"] if out.get("name") == "stderr"]
    assert errors == []


def test_bars_are_drawn_in_place(notebook):
    place = list(CELLS).index("run")
    # One display for the backend's start, one for the bank, one for all fits, however many steps
    # they took, and one for the report; each is emptied when its stage ends, so that a saved
    # notebook holds no bar.
    assert notebook.seen[place, "display_data"] == 4
    assert notebook.displays("run") == [{"text/plain": ""}] * 4
    assert notebook.seen[place, "update_display_data"] > 2
    drawn = [data for cell, data in notebook.drawn if cell == place]
    shown = [data["text/html"] for data in drawn if "text/html" in data]
    assert len(shown) == len(drawn) - 4
    assert all(html.startswith('<progress max="') for html in shown)
    assert any("cnn fold 1, epoch " in html for html in shown)
    assert {cell for cell, _ in notebook.drawn} == {place}


def test_cells_show_results(notebook):
    assert notebook.result("config")["text/plain"] == "(4, 2)"
    assert notebook.result("run")["text/plain"].startswith("Run('run', out-of-fold accuracy 0.")
    accuracy, errors, fits = literal_eval(notebook.result("metrics")["text/plain"])
    assert (accuracy, fits) == (pytest.approx(1 - errors / 1400), 2)
    [curves] = notebook.displays("curves")
    assert curves["image/png"]
    assert "<table" in notebook.result("members")["text/html"]
    # All rows have been predicted: the right ones are on the diagonal.
    assert notebook.result("confusion")["text/plain"] == "(1400, (10, 10))"
    assert notebook.result("predict")["text/plain"] == "(5, 10)"
    assert "<p>397 rows " in notebook.result("submission")["text/html"]
    assert notebook.result("load again")["text/plain"] == "True"


# `!kaggle-digits run`, which gets a terminal of its own there

SHELL = (
    "!{python} -m kaggle_digits run --out shell --set train.epochs=4 --set folds.count=2 "
    "--set augment.elastic.p=0 "
    "--set 'model.stages=[{{width: 8, kernel: 5, stride: 2, pool: last}}]'"
)


@pytest.fixture(scope="module")
def shell(notebook_folder):
    """Execute a notebook with that one line; return (its outputs, messages of output)."""
    source = SHELL.format(python=sys.executable)
    [cell] = cells = [nbformat.v4.new_code_cell(source)]
    client = Client(nbformat.v4.new_notebook(cells=cells), timeout=600, kernel_name="python3")
    client.execute(cwd=str(notebook_folder))
    return cell.outputs, client


def test_a_command_in_a_notebook_writes_few_plain_lines(shell):
    outputs, client = shell
    assert {output.output_type for output in outputs} == {"stream"}
    text = "".join(output.text for output in outputs)
    assert "\x1b" not in text
    assert "\n  out-of-fold accuracy  0." in text.replace("\r\n", "\n")
    lines = text.splitlines()
    # 2 fits of 4 epochs; `test_progress` counts the lines of longer runs, never more than some 100.
    assert sum(", epoch " in line for line in lines) == 8
    assert len(lines) < 45
    assert client.seen[0, "stream"] <= len(lines)
    assert sum(len(output.text) for output in outputs) < 4000
