import pytest
import yaml
from typer.testing import CliRunner

from kaggle_digits.cli import app
from kaggle_digits.config import loading
from kaggle_digits.errors import UserError

SHIPPED = [*loading.shipped_names(), *loading.peer_names()]


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Run `kaggle-digits config` in an empty folder; return what it printed."""
    monkeypatch.chdir(tmp_path)

    def call(*words, warned=""):
        done = CliRunner().invoke(app, ["config", *words])
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0
        assert done.stderr == warned
        return done.stdout

    return call


def test_without_a_command_it_helps(config):
    assert config() == config("--help")
    assert all(word in config() for word in ("list", "show", "copy"))


def test_every_shipped_config_is_listed_with_what_it_is_for(config):
    lines = config("list").splitlines()
    found = {line.split()[0]: line for line in lines if line and not line.startswith("kaggle-")}
    assert list(found) == SHIPPED
    for name, line in found.items():
        assert line.endswith(f"  {loading.shipped_summary(name)}")
        assert len(line) <= 100


@pytest.mark.parametrize("name", SHIPPED)
def test_config_is_shown_whole(config, name):
    shown = config("show", name)
    assert loading.from_values(yaml.safe_load(shown)) == loading.load(name)
    assert yaml.safe_load(shown)["train"]["batch_size"] in (32, 64, 120, 128, 256)
    assert shown.startswith(f"# {name}, all settings.")


def test_what_differs_from_quick_is_said(config):
    stages = (
        "{width: 32, kernel: 5, stride: 2, padding: valid}",
        "{width: 64, depth: 2, padding: valid}",
        "{width: 96, depth: 2, padding: valid}",
        "{width: 128, padding: valid}",
    )
    lines = config("show", "standard").splitlines()
    for line in (
        "# standard, all settings. What differs from quick:",
        "#   folds.count: 5 # quick: 3",
        "#   augment.clean_epochs: 2 # quick: 0",
        "#   train.epochs: 9 # quick: 10",
        "#   members.upright: {model: {deslant: true}}",
        f"#   members.deep: {{model: {{stages: [{', '.join(stages)}]}}}}",
        "#   members.cnn: null # quick: {}",
    ):
        assert line in lines
    assert not [line for line in lines if line.startswith("#   train.batch_size")]
    assert config("show").startswith("# quick, all settings.\n\nseed: 2026\n")


def test_only_what_differs(config):
    assert config("show", "--changes") == "# Nothing differs from quick.\n"
    words = ("show", "--changes", "--set", "train.epochs=9", "--set", "augment.rotate=[-5,5]")
    changes = "augment.rotate: [-5.0, 5.0] # quick: [-12.0, 12.0]\ntrain.epochs: 9 # quick: 10\n"
    assert config(*words) == changes
    # As options they make the config again.
    overrides = [
        line.replace(": ", "=", 1) for line in config("show", "best", "--changes").splitlines()
    ]
    assert loading.load("quick", [*overrides, "tune=null"]) == loading.load("best")


def test_own_config_is_shown(config, tmp_path):
    (tmp_path / "my.yaml").write_text("tune: {race: 0.1}\ntrain: {epochs: 3}\n")
    warned = "# my.yaml: tune.race is now called tune.racing_alpha; the old name is still read\n"
    shown = config("show", "my.yaml", "--set", "train.epochs=4", warned=warned)
    assert shown.startswith("# my.yaml with --set, all settings. What differs from quick:\n")
    assert "#   train.epochs: 4 # quick: 10\n" in shown
    with pytest.raises(UserError, match=r"^absent: no such config; give a path to a YAML file or"):
        config("show", "absent")


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (("standard",), "standard.yaml"),
        (("peers/deotte-15",), "deotte-15.yaml"),
        (("quick", "my.yaml"), "my.yaml"),
        (("best", "new/my.yml"), "new/my.yml"),
        (("best", "here"), "here/best.yaml"),
        (("quick", "my own.yaml"), "my own.yaml"),
    ],
)
def test_copy_has_the_comments_and_the_next_command(config, tmp_path, words, place):
    (tmp_path / "here").mkdir()
    said = config("copy", *words)
    assert (tmp_path / place).read_text() == loading.shipped_text(words[0])
    assert loading.load(f"./{place}") == loading.load(words[0])
    command = f"kaggle-digits run --config {place!r}" if " " in place else f"--config {place}"
    assert said.rstrip().endswith(command)


def test_copy_replaces_nothing(config, tmp_path):
    (tmp_path / "standard.yaml").write_text("mine")
    with pytest.raises(
        UserError, match=r"^standard\.yaml: this file is there already; give anothe"
    ):
        config("copy", "standard")
    assert (tmp_path / "standard.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("mine",), "mine: expected one of best, detuned, lunch-break, quick, standard"),
        (("quick", "mine"), "mine: expected a file that ends in .yaml; give another name"),
        (("quick", "file/my.yaml"), "file: "),
    ],
)
def test_what_cannot_be_copied(config, tmp_path, words, message):
    (tmp_path / "file").touch()
    with pytest.raises(UserError) as caught:
        config("copy", *words)
    assert str(caught.value).startswith(message)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("command", ["run", "tune", "bench", "doctor"])
def test_help_names_every_shipped_config(command):
    done = CliRunner().invoke(app, [command, "--help"])
    words = done.stdout.split("--config", 1)[1].split(";")[0]
    for name in (*loading.shipped_names(), "peers/NAME"):
        assert name in words
