import numpy as np
import pytest

from kaggle_digits.config.schema import Config
from kaggle_digits.errors import UserError
from kaggle_digits.storage.cache import Cache
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system.time_budget import TimeBudget
from kaggle_digits.training import backend, engine, fit_spec, user_callbacks
from kaggle_digits.training.engine import EngineOptions, Workplace

OWN = """
import keras

seen = []

class Losses(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.losses = []
        seen.append(self)

    def on_epoch_end(self, epoch, logs=None):
        self.losses.append((epoch, logs["loss"]))

class EndsEarly(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = True

not_callable = 5

def makes_nothing():
    pass

def needs(something):
    return something
"""
TINY = {
    "folds": {"count": 2},
    "augment": {"elastic": {"p": 0}, "variants": 1},
    "model": {"stages": [{"width": 2, "kernel": 5, "stride": 2, "pool": "first"}]},
    "train": {"epochs": 2, "batch_size": 10, "warmup_epochs": 0.5, "ema_epochs": 0.5, "threads": 2},
    "members": {"cnn": {}},
}


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Make a module of a user's own; return its name."""
    folder = tmp_path / "on_the_path"
    (folder / "package").mkdir(parents=True)
    (folder / "package" / "own_callbacks.py").write_text(OWN)
    (folder / "broken_callbacks.py").write_text("import no_such_package\n")
    (folder / "torn_callbacks.py").write_text("def make(:\n")
    monkeypatch.syspath_prepend(folder)
    return "package.own_callbacks"


def test_factories_are_imported_in_their_order(own):
    given = (f"{own}:Losses", "keras.callbacks:TerminateOnNaN")
    made = [factory() for factory in user_callbacks.load(given)]
    assert [type(each).__name__ for each in made] == ["Losses", "TerminateOnNaN"]
    assert user_callbacks.load(()) == ()


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("no_such_module:make", "No module named 'no_such_module'"),
        ("package.no_such_module:make", "No module named 'package.no_such_module'"),
        ("broken_callbacks:make", "No module named 'no_such_package'"),
        ("torn_callbacks:make", "invalid syntax"),
        ("package.own_callbacks:no_such_name", "has no attribute 'no_such_name'"),
    ],
)
def test_what_cannot_be_imported_is_named(path, reason):
    with pytest.raises(UserError) as caught:
        user_callbacks.load(["keras.callbacks:TerminateOnNaN", path])
    message = str(caught.value)
    assert message.startswith(f"callbacks: {path}: cannot be imported (")
    assert reason in message
    assert message.endswith("); correct it, or put its folder on PYTHONPATH")


@pytest.mark.usefixtures("own")
def test_what_is_no_factory_is_named():
    with pytest.raises(UserError, match=r"^callbacks: package\.own_callbacks:not_callable: expect"):
        user_callbacks.load(["package.own_callbacks:not_callable"])


def test_a_factory_that_makes_no_callback_is_named(own):
    (factory,) = user_callbacks.load([f"{own}:makes_nothing"])
    with pytest.raises(UserError, match=r"own_callbacks:makes_nothing: expected a Keras callback"):
        factory()


def test_a_factory_that_wants_arguments_is_named(own):
    message = r"own_callbacks:needs: is called without arguments: missing .* 'something'"
    with pytest.raises(UserError, match=message):
        user_callbacks.load([f"{own}:needs"])
    user_callbacks.load(["builtins:dict"])  # does not say what it takes


class Silent:
    def say(self, text):
        pytest.fail(text)

    def progress(self, progress):
        pass


def test_each_fit_gets_callbacks_of_its_own_and_stays_the_same_fit(tmp_path, own, tiny_images):
    labels = np.tile(np.arange(10, dtype=np.uint8), 4)
    inputs = fit_spec.Inputs(tiny_images, labels, tiny_images[:5])
    split = [np.arange(0, 20), np.arange(20, 40)]
    cache = Cache(tmp_path / "cache")

    def run(name, *paths):
        config = Config.model_validate(TINY | {"callbacks": [f"{own}:{path}" for path in paths]})
        specs = fit_spec.plan(config, inputs, split, backend.name())
        folder = RunFolder(tmp_path / name)
        options = EngineOptions(callbacks=user_callbacks.load(config.callbacks))
        outcomes = engine.run(
            specs, inputs, Workplace(folder, cache), TimeBudget(), Silent(), options
        )
        assert [outcome.status for outcome in outcomes] == ["finished", "finished"]
        facts = [folder.read_fit("cnn", fold) for fold in (0, 1)]
        arrays = [folder.read_fit_arrays("cnn", fold) for fold in (0, 1)]
        return (
            [(each["identity"], each["digest"]) for each in facts],
            [(each["heldout"].tobytes(), each["test"].tobytes()) for each in arrays],
        )

    plain = run("plain")
    seen = user_callbacks.importlib.import_module(own).seen
    seen.clear()  # of other tests
    assert run("with", "Losses") == plain
    assert [[epoch for epoch, _ in each.losses] for each in seen] == [[0, 1], [0, 1]]
    # One that ends training changes the net, and yet no identity: whoever uses it knows.
    identities, predictions = run("early", "EndsEarly")
    assert identities == plain[0]
    assert predictions != plain[1]
