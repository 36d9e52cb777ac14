"""A kernel's output at home: whole or not at all, and nothing of what was there is lost."""

import shutil
import subprocess
from pathlib import Path

import pytest
from pretended_kaggle import KERNEL, content_of, put_out
from stand_in import Plan

from kaggle_digits.errors import UserError
from kaggle_digits.kaggle.kernel_output import fetch
from kaggle_digits.storage import files
from kaggle_digits.storage.run_copies import damaged_files
from kaggle_digits.storage.run_folder import RunFolder


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Return an empty working folder."""
    (tmp_path / "home").mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path / "home"


def nothing_half_written(home):
    return not [path for path in home.rglob("*") if path.name.startswith(".kaggle-digits-half")]


def test_fetch_brings_a_whole_run_home(client, stand_in, undisturbed, home):
    expected = put_out(stand_in, undisturbed.run)
    assert len(expected) > 2 * stand_in.page_size
    said = []
    run = fetch(client, KERNEL, said.append)
    assert run.folder.resolve() == home / "submissions" / "kaggle-digits-quick"
    assert content_of(run.folder) == expected
    assert said == [f"{KERNEL}: fetching {len(expected)} files"]
    assert nothing_half_written(home)
    fetch(client, KERNEL, said.append)  # the same again
    assert content_of(run.folder) == expected
    assert nothing_half_written(home)


def test_fetch_does_without_hidden_files(client, stand_in, undisturbed, home):
    put_out(stand_in, undisturbed.run)
    output = stand_in.outputs[KERNEL]
    stand_in.outputs[KERNEL] = {name: output[name] for name in output if "/." not in name}
    run = fetch(client, KERNEL, print)
    assert run.finished_fits() == [("cnn", 0), ("cnn", 1)]
    assert damaged_files(run) == []


def test_another_run_within_the_output_is_not_taken_for_it(client, stand_in, undisturbed, home):
    expected = put_out(stand_in, undisturbed.run)
    copy = {f"a/copy/{name}": data for name, data in expected.items()}
    stand_in.outputs[KERNEL] |= {f"run/{name}": data for name, data in copy.items()}
    run = fetch(client, KERNEL, print)
    assert run.folder.name == "kaggle-digits-quick"
    assert content_of(run.folder) == expected | copy


def test_a_run_that_went_on_takes_the_place_of_its_earlier_self(
    client, stand_in, undisturbed, home
):
    early = put_out(stand_in, undisturbed.home / "cut-off")
    run = fetch(client, KERNEL, print)
    assert content_of(run.folder) == early
    late = put_out(stand_in, undisturbed.run)
    said = []
    fetch(client, KERNEL, said.append)
    assert said[-1] == "submissions/kaggle-digits-quick: the earlier run there is replaced"
    assert content_of(run.folder) == late
    # But not the other way round.
    put_out(stand_in, undisturbed.home / "cut-off")
    with pytest.raises(UserError, match="holds a run with fits that the fetched one does not have"):
        fetch(client, KERNEL, print)
    assert content_of(run.folder) == late
    fetch(client, KERNEL, print, overwrite=True)
    assert content_of(run.folder) == early
    assert nothing_half_written(home)


@pytest.mark.parametrize("moment", ["before", "between", "after"])
def test_killed_while_one_run_takes_the_place_of_another(
    client, stand_in, undisturbed, home, moment
):
    place = home / "submissions"
    put_out(stand_in, undisturbed.run)
    run = fetch(client, KERNEL, print)
    ended = subprocess.Popen(["true"])
    ended.wait()
    remains = files.temporary_path(place / f"earlier-{run.folder.name}", ended.pid)
    if moment == "between":
        run.folder.rename(remains)
    elif moment == "after":
        shutil.copytree(run.folder, remains)
    shutil.copytree(
        undisturbed.home / "cut-off", files.temporary_path(place / run.folder.name, ended.pid)
    )
    expected = content_of(undisturbed.run)
    stand_in.outputs[KERNEL] = broken(stand_in.outputs[KERNEL], "no manifest")
    with pytest.raises(UserError, match="holds no run"):
        fetch(client, KERNEL, print)
    assert content_of(run.folder) == expected
    assert nothing_half_written(home)


def test_a_fit_of_another_run_is_not_lost(client, stand_in, undisturbed, home):
    put_out(stand_in, undisturbed.run)
    run = fetch(client, KERNEL, print)
    fit_json = run.fit_folder("cnn", 1) / "fit.json"
    facts = run.read_fit("cnn", 1) | {"checksums": {"model.keras": "another"}}
    run.remove_fit("cnn", 1)
    run.write_fit("cnn", 1, {}, facts)
    before = fit_json.read_bytes()
    with pytest.raises(UserError, match=f"kernel fetch {KERNEL} --out FOLDER, or give .*overwrite"):
        fetch(client, KERNEL, print)
    assert fit_json.read_bytes() == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_only_the_folder_at_home_has_stays(client, stand_in, undisturbed, home, overwrite):
    earlier, later = undisturbed.home / "cut-off", undisturbed.run
    if overwrite:
        earlier, later = later, earlier
    put_out(stand_in, earlier)
    run = fetch(client, KERNEL, print)
    own = {"submitted.json": b"{}", "my-notes.md": b"mine", "plots/one.png": b"png"}
    for name, content in own.items():
        files.write_bytes(run.folder / name, content)
    expected = put_out(stand_in, later)
    stand_in.outputs[KERNEL]["run/submitted.json"] = b"earlier"
    fetch(client, KERNEL, print, overwrite=overwrite)
    assert content_of(run.folder) == expected | own  # of the run that was there nothing is left
    assert nothing_half_written(home)


def test_fits_without_a_config_are_not_lost(client, stand_in, undisturbed, home):
    put_out(stand_in, undisturbed.run)
    run = fetch(client, KERNEL, print)
    run.config.unlink()
    before = content_of(run.folder)
    put_out(stand_in, undisturbed.home / "cut-off")
    with pytest.raises(UserError, match="holds a run with fits that the fetched one does not have"):
        fetch(client, KERNEL, print)
    assert content_of(run.folder) == before


def broken(output, kind):
    damaged = dict(output)
    if kind == "cut off":
        damaged["run/fits/cnn-fold1/model.keras"] = output["run/fits/cnn-fold1/model.keras"][:99]
    elif kind == "a fit is missing":
        damaged = {name: data for name, data in output.items() if "cnn-fold2/" not in name}
    elif kind == "no submission":
        del damaged["run/submission.csv"]
    elif kind == "another config":
        damaged["run/config.yaml"] += b"# cut"
    elif kind == "no manifest":
        del damaged["run/manifest.json"]
    elif kind == "leaves the folder":
        damaged["run/../../../evil"] = b"x"
    return damaged


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("cut off", "fits/cnn-fold1 in its output did not arrive as they were written"),
        ("a fit is missing", "fits/cnn-fold2 in its output did not arrive"),
        ("no submission", "submission.csv in its output did not arrive"),
        ("another config", "config.yaml in its output did not arrive"),
        ("no manifest", "its output holds no run; kaggle-digits kernel status"),
        ("leaves the folder", "'run/../../../evil', a path that leaves the folder"),
    ],
)
def test_what_is_not_sound_changes_nothing_at_home(
    client, stand_in, undisturbed, home, tmp_path, kind, message
):
    put_out(stand_in, undisturbed.home / "cut-off")
    run = fetch(client, KERNEL, print)
    before = content_of(run.folder)
    put_out(stand_in, undisturbed.run)
    stand_in.outputs[KERNEL] = broken(stand_in.outputs[KERNEL], kind)
    with pytest.raises(UserError) as caught:
        fetch(client, KERNEL, print)
    assert message in str(caught.value)
    assert content_of(run.folder) == before
    assert nothing_half_written(home)
    assert not list(tmp_path.rglob("evil"))


def test_a_summary_that_the_end_of_the_kernel_has_torn_is_taken(
    client, stand_in, undisturbed, home
):
    put_out(stand_in, undisturbed.run)
    output = stand_in.outputs[KERNEL]
    for name in ("manifest.json", "metrics.json"):  # of the fit before
        output[f"run/{name}"] = (undisturbed.home / "cut-off" / name).read_bytes()
    run = fetch(client, KERNEL, print)
    assert damaged_files(run) == run.torn() == ["predictions.npz", "submission.csv"]


def test_the_folder_that_one_is_in_is_not_replaced(client, stand_in, undisturbed, home):
    put_out(stand_in, undisturbed.run)
    with pytest.raises(UserError, match=r"^--out \.: is the folder that the command runs in"):
        fetch(client, KERNEL, print, Path())
    assert not list(home.glob("*.json"))


def test_a_file_that_storage_does_not_give_is_not_taken_for_one(
    client, stand_in, undisturbed, home
):
    put_out(stand_in, undisturbed.run)
    stand_in.plan("GET", Plan(status=503, times=2), Plan(status=404))
    with pytest.raises(UserError, match="Kaggle refuses to download"):
        fetch(client, KERNEL, print)
    assert not list((home / "submissions").iterdir())


def test_fetch_waits_for_nothing(client, stand_in, undisturbed, home):
    put_out(stand_in, undisturbed.run)
    stand_in.kernel_states[KERNEL] = ["RUNNING"]
    with pytest.raises(UserError, match=f"{KERNEL}: is running, there is no output yet; follow it"):
        fetch(client, KERNEL, print)


def test_what_a_failed_kernel_has_left_is_fetched(client, stand_in, undisturbed, home):
    put_out(stand_in, undisturbed.home / "cut-off")
    stand_in.kernel_states[KERNEL] = ["ERROR"]
    stand_in.failure_messages[KERNEL] = "Your notebook ran out of time"
    said = []
    fetch(client, KERNEL, said.append)
    warning = (
        f"WARNING: {KERNEL}: error: Your notebook ran out of time; what it has left is fetched"
    )
    assert said[0] == f"{warning} all the same"


def test_other_things_at_home_are_left_alone(client, stand_in, undisturbed, home):
    put_out(stand_in, undisturbed.run)
    (home / "thesis").mkdir()
    (home / "thesis" / "thesis.tex").touch()
    with pytest.raises(UserError, match="expected a new or empty folder, or that of a run"):
        fetch(client, KERNEL, print, out=home / "thesis")
    busy = fetch(client, KERNEL, print)
    with (
        RunFolder(busy.folder).locked(),
        pytest.raises(UserError, match=r"process \d+ is at work in it"),
    ):
        fetch(client, KERNEL, print)
