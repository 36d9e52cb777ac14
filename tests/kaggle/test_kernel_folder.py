"""The folder of a kernel: its metadata, which the real client accepts, and what is not lost."""

import json
from dataclasses import replace

import pytest

from kaggle_digits.config import loading
from kaggle_digits.errors import UserError
from kaggle_digits.kaggle import kernel_folder
from kaggle_digits.kaggle.kernel_folder import ACCELERATORS, KernelFolder, KernelOptions, build
from kaggle_digits.storage import files

OPTIONS = KernelOptions(loading.load("quick"), "quick", "the command", owner="ada")
WITH_CALLBACK = loading.load("quick", ["callbacks=[mine:make]"])
SCRIPT = "kaggle-digits-quick.py"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def metadata_of(folder):
    return json.loads((folder / "kernel-metadata.json").read_text())


def test_metadata(tmp_path):
    sources = {"kernel_sources": ("ada/earlier",), "dataset_sources": ("bob/run/3",)}
    build(replace(OPTIONS, **sources), tmp_path / "k")
    assert metadata_of(tmp_path / "k") == {
        "id": "ada/kaggle-digits-quick",
        "title": "kaggle digits quick",
        "code_file": SCRIPT,
        "language": "python",
        "kernel_type": "script",
        "is_private": True,
        "enable_internet": False,
        "enable_gpu": True,
        "enable_tpu": False,
        "competition_sources": ["digit-recognizer"],
        "kernel_sources": ["ada/earlier"],
        "dataset_sources": ["bob/run/3"],
        "model_sources": [],
    }
    assert KernelFolder(tmp_path / "k").session_seconds() == 8 * 3600 + 1800 + 900


@pytest.mark.parametrize(
    ("accelerator", "expected"),
    [
        ("none", (False, False, None)),
        ("gpu", (True, False, None)),
        ("t4x2", (True, False, "NvidiaTeslaT4")),
        ("tpu", (False, True, "TpuV5E8")),
    ],
)
def test_accelerators(tmp_path, accelerator, expected):
    built = build(replace(OPTIONS, accelerator=accelerator), tmp_path)
    metadata = metadata_of(tmp_path)
    found = (metadata["enable_gpu"], metadata["enable_tpu"], metadata.get("machine_shape"))
    assert found == expected
    assert f"accelerator {accelerator}" in built.description()[1]
    code = (tmp_path / metadata["code_file"]).read_text()
    assert ('["KERAS_BACKEND"] = "jax"' in code) == (accelerator == "tpu")


@pytest.mark.parametrize("notebook", [False, True])
@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_the_real_client_accepts_it(tmp_path, client, stand_in, capsys, notebook, accelerator):
    options = replace(
        OPTIONS,
        notebook=notebook,
        accelerator=accelerator,
        kernel_sources=("ada/earlier",),
        dataset_sources=("bob/run/3",),
        config_name="Tune_best of.all",
    )
    build(options, tmp_path / "k")
    answer = client.api.kernels_push(str(tmp_path / "k"), timeout="60")
    assert not answer.error
    assert not answer.invalidCompetitionSources
    assert capsys.readouterr().out == ""  # else it warns that the title does not give the slug
    sent = stand_in.kernels["ada/kaggle-digits-tune-best-of-all"]
    assert sent["kernelType"] == ("notebook" if notebook else "script")
    assert (sent["isPrivate"], sent["enableInternet"]) == (True, False)
    assert sent["sessionTimeoutSeconds"] == 60
    assert len(sent["text"]) < kernel_folder.LARGEST_CODE / 3


def test_asked_for_it_is_public_and_online(tmp_path):
    built = build(replace(OPTIONS, public=True, internet=True), tmp_path)
    metadata = metadata_of(tmp_path)
    assert (metadata["is_private"], metadata["enable_internet"]) == (False, True)
    assert "public, internet on" in built.description()[1]


def test_where_the_data_is_at_home_is_not_carried(tmp_path):
    config = loading.load("quick", {"data.path": "/home/ada/secret"})
    build(replace(OPTIONS, config=config), tmp_path)
    assert not any(b"/home/ada" in content for content in contents(tmp_path).values())


@pytest.mark.parametrize(
    ("time_limit", "accelerator", "warns", "session_hours"),
    [
        ("9h", "gpu", False, 9.25),
        ("9h1m", "gpu", True, 9 + 16 / 60),
        ("12h", "none", True, 12),
        ("9h", "tpu", False, 9),
    ],
)
def test_a_long_time_limit_is_warned_of(tmp_path, time_limit, accelerator, warns, session_hours):
    built = build(replace(OPTIONS, time_limit=time_limit, accelerator=accelerator), tmp_path)
    warnings = [line for line in built.description() if line.startswith("WARNING: --time-limit")]
    assert len(warnings) == warns
    assert built.session_seconds() == session_hours * 3600


def test_a_code_file_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(kernel_folder, "LARGEST_CODE", 1000)
    with pytest.raises(UserError, match="bytes, expected at most about 1 MB; give a smaller"):
        build(OPTIONS, tmp_path / "k")


def test_built_again_it_has_the_same_bytes(tmp_path):
    build(OPTIONS, tmp_path)
    before = contents(tmp_path)
    build(OPTIONS, tmp_path)
    assert contents(tmp_path) == before


def test_another_kind_takes_the_place_of_the_first(tmp_path):
    build(OPTIONS, tmp_path)
    build(replace(OPTIONS, notebook=True), tmp_path)
    assert not (tmp_path / SCRIPT).exists()
    assert metadata_of(tmp_path)["code_file"] == "kaggle-digits-quick.ipynb"


@pytest.mark.parametrize("name", [SCRIPT, "kernel-metadata.json"])
def test_what_was_changed_by_hand_is_kept(tmp_path, name):
    build(OPTIONS, tmp_path)
    changed = (tmp_path / name).read_text().replace("quick", "swift")
    (tmp_path / name).write_text(changed)
    others = replace(OPTIONS, accelerator="tpu", notebook=True)
    with pytest.raises(UserError, match=f"{name}: was changed after it was built; .*--overwrite"):
        build(others, tmp_path)
    assert (tmp_path / name).read_text() == changed
    build(others, tmp_path, overwrite=True)
    assert metadata_of(tmp_path)["enable_tpu"] is True


def test_a_kernel_is_awaited_as_long_as_its_code_is_the_same(tmp_path):
    assert build(OPTIONS, tmp_path).awaited is None
    KernelFolder(tmp_path).note_awaited("ada/kaggle-digits-quick")
    assert build(OPTIONS, tmp_path).awaited == "ada/kaggle-digits-quick"
    assert build(replace(OPTIONS, time_limit="1h"), tmp_path).awaited is None
    KernelFolder(tmp_path).note_awaited("ada/kaggle-digits-quick")
    KernelFolder(tmp_path).note_awaited(None)
    assert build(replace(OPTIONS, time_limit="1h"), tmp_path).awaited is None


@pytest.mark.parametrize("written", range(4))
def test_a_build_that_was_killed_is_repeated(tmp_path, monkeypatch, written):
    """The files of a build are written one after the other; a kill comes before one of them."""
    once = contents(build(OPTIONS, tmp_path / "once").folder)
    atomic_write, done = files.atomic_write, []

    def killed(path):
        if len(done) == written:
            path.parent.mkdir(exist_ok=True)
            files.temporary_path(path, process=1).write_bytes(b"half of it")
            raise KeyboardInterrupt
        done.append(path)
        return atomic_write(path)

    monkeypatch.setattr(files, "atomic_write", killed)
    with pytest.raises(KeyboardInterrupt):
        build(OPTIONS, tmp_path / "k")
    monkeypatch.undo()
    found = contents(build(OPTIONS, tmp_path / "k").folder)
    assert {name: found[name] for name in once} == once


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match="expected a new or empty folder, or that of a kernel"):
        build(OPTIONS, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slug": "abc"}, "--name abc: expected 5 to 50 lower-case letters, digits and single hy"),
        ({"slug": "Mine and yours"}, "--name Mine and yours: expected"),
        ({"slug": "a" * 51}, "--name a+: expected"),
        ({"accelerator": "p100"}, "--accelerator: expected one of none, gpu, t4x2, tpu, found 'p1"),
        ({"kernel_sources": ("mine",)}, "'mine': expected the owner and the name of a kernel"),
        ({"dataset_sources": ("a/b/c",)}, "'a/b/c': expected the owner and the name"),
        ({"time_limit": "soon"}, "--time-limit: expected a duration"),
        ({"time_limit": "40h"}, "--time-limit: expected 1m to 12h, .* found '40h'"),
        ({"time_limit": "12h1s"}, "--time-limit: expected 1m to 12h"),
        ({"time_limit": "59s"}, "--time-limit: expected 1m to 12h"),
        ({"time_limit": "9h1s", "accelerator": "tpu"}, "--time-limit: expected 1m to 9h, .* tpu"),
        ({"owner": "Ada Smith"}, "--owner .*Ada Smith: expected a user's name"),
        ({"owner": "ada/digits"}, "--owner .*ada/digits: expected a user's name"),
        ({"config": WITH_CALLBACK}, "callbacks: mine:make would not be found on Kaggle"),
    ],
)
def test_options_that_do_not_fit(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        build(replace(OPTIONS, **options), tmp_path / "k")
    assert not (tmp_path / "k").exists()


def test_a_folder_without_metadata_is_no_kernels(tmp_path):
    with pytest.raises(UserError, match=r"with a kernel-metadata.json, found none; make one with"):
        KernelFolder(tmp_path).read_metadata()


# The command


def test_the_command_needs_no_credentials(tmp_path, command, stand_in):
    (tmp_path / "mine.yaml").write_text("train: {epochs: 3}\n")
    config = ("--config", str(tmp_path / "mine.yaml"), "--set", "seed=7")
    status, output, error = command("kernel", "build", *config, KAGGLE_API_TOKEN="")
    assert (status, error) == (0, "")
    folder = tmp_path / "submissions" / "kernels" / "kaggle-digits-mine"
    assert metadata_of(folder)["id"] == "kaggle-digits-mine"
    size = (folder / "kaggle-digits-mine.py").stat().st_size
    assert f"({size / 1000:.0f} KB, at most about 1 MB)" in output
    assert "kaggle-digits kernel push submissions/kernels/kaggle-digits-mine" in output
    code = (folder / "kaggle-digits-mine.py").read_text()
    assert "\n    kaggle-digits kernel build --config mine.yaml --set seed=7\n" in code
    assert "\nseed: 7\n" in code
    assert "  epochs: 3\n" in code
    assert str(tmp_path) not in code
    assert (stand_in.calls, list((tmp_path / "home").iterdir())) == ([], [])  # no client came up


def test_the_command_of_a_peer_can_be_typed(tmp_path, command):
    assert command("kernel", "build", "--config", "peers/basic-cnn")[0] == 0
    [code] = (tmp_path / "submissions" / "kernels").glob("*/*.py")
    assert "\n    kaggle-digits kernel build --config peers/basic-cnn\n" in code.read_text()


@pytest.mark.parametrize("kind", [[], ["--notebook"]])
def test_where_the_data_is_does_not_travel_with_the_command(tmp_path, command, kind):
    place = tmp_path / "ada" / "private"
    settings = [f"data.path={place}", f" data = {{path: {place}}}", "seed=7"]
    words = [word for setting in settings for word in ("--set", setting)]
    assert command("kernel", "build", "--public", *words, *kind)[0] == 0
    built = contents(tmp_path / "submissions" / "kernels" / "kaggle-digits-quick")
    assert not any(str(place).encode() in text for text in built.values())
    [code] = [text for name, text in built.items() if "quick" in name]
    assert b"kaggle-digits kernel build" in code
    assert b"--set seed=7" in code


def test_the_owner_may_come_from_the_environment(tmp_path, command):
    status, _, error = command("kernel", "build", "--name", "digits", KAGGLE_USERNAME="ada")
    assert (status, error) == (0, "")
    metadata = metadata_of(tmp_path / "submissions" / "kernels" / "digits")
    assert (metadata["id"], metadata["title"]) == ("ada/digits", "digits")


def test_a_refusal_is_one_line(command):
    status, output, error = command("kernel", "build", "--accelerator", "p100")
    assert (status, output) == (2, "")
    [line] = error.splitlines()
    assert line.startswith("kaggle-digits: --accelerator: expected one of none, gpu")
