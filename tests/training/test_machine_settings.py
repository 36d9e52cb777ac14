import pytest

from kaggle_digits.config.schema import Config
from kaggle_digits.system import environment
from kaggle_digits.training import machine_settings, precision
from kaggle_digits.training.machine_settings import NOTHING, Begun
from kaggle_digits.training.precision import Choice

BEGUN_ON_TWO = Begun(2, {"cnn": "bfloat16"})


@pytest.fixture
def resolved(monkeypatch):
    """Resolve a config on a machine with some cores; return (its `train`, what was said)."""

    def resolve(train, begun=NOTHING, cores=4, here=None, members=None):
        monkeypatch.setattr(environment, "usable_cores", lambda: cores)
        # Whoever asks starts a backend.
        ask = (lambda threads: here) if here else lambda threads: pytest.fail("it is asked")
        monkeypatch.setattr(precision, "here", ask)
        said = []
        given = Config(train=train, members=members or {"cnn": {}})
        found = machine_settings.resolved(given, begun, "run", said.append)
        changes = {"threads": found.train.threads, "precision": found.train.precision}
        if members is None:
            assert found == Config(train=train | changes)
        return found, said

    return resolve


# Threads


def threads(resolved, given, begun, **machine):
    config, said = resolved({"threads": given}, Begun(begun), **machine)
    return config.train.threads, said


def test_auto_is_a_thread_for_each_core(resolved):
    assert threads(resolved, "auto", None) == (4, [])


def test_what_was_begun_keeps_its_number(resolved):
    line = "train.threads: 2, as the run was begun; this machine has 4 usable cores"
    assert threads(resolved, "auto", 2) == (2, [line])
    assert threads(resolved, "auto", 4) == (4, [])
    one_core = threads(resolved, "auto", 2, cores=1)
    assert one_core[1] == [line.replace("4 usable cores", "1 usable core")]


def test_a_given_number_stays(resolved):
    # Fits that were made with another one refuse it by name.
    assert threads(resolved, 3, None) == (3, [])
    assert threads(resolved, 3, 2) == (3, [])


# Precision

AUTO = {"threads": 2, "precision": "auto"}
NATIVE = Choice("bfloat16", "the processor has avx512_bf16")


def test_auto_is_what_this_machine_is_fast_in_and_says_why(resolved):
    config, said = resolved(AUTO, here=NATIVE)
    assert config.train.precision == "bfloat16"
    assert said == ["train.precision: bfloat16, the processor has avx512_bf16"]


def test_what_was_begun_keeps_its_precision_and_starts_no_backend(resolved):
    config, said = resolved(AUTO, BEGUN_ON_TWO)
    assert config.train.precision == "bfloat16"
    assert said == ["train.precision: bfloat16, as the run was begun"]
    begun = Begun(2, {"cnn": "float32"})
    assert resolved(AUTO, begun)[1] == ["train.precision: float32, as the run was begun"]


@pytest.mark.parametrize("given", ["float32", "float16"])
def test_a_given_precision_stays(resolved, given):
    config, said = resolved({"threads": 2, "precision": given}, BEGUN_ON_TWO)
    assert (config.train.precision, said) == (given, [])


def test_a_member_that_is_new_gets_what_this_machine_is_fast_in(resolved):
    members = {"cnn": {}, "new": {"train": {"precision": "auto"}}}
    begun = Begun(2, {"cnn": "float16"})
    config, said = resolved(AUTO, begun, here=NATIVE, members=members)
    assert config.precisions == {"cnn": "float16", "new": "bfloat16"}
    assert sorted(said) == [
        "members.new.train.precision: bfloat16, the processor has avx512_bf16",
        "train.precision: float16, as the run was begun",
    ]


# What was begun


def test_what_a_config_says_of_what_was_begun():
    assert machine_settings.begun_with(None) == Begun(None, {})
    assert machine_settings.begun_with(Config()) == Begun(None, {"cnn": "float32"})
    begun = machine_settings.begun_with(Config(train={"threads": 3, "precision": "auto"}))
    assert begun == Begun(3, {})
    members = {"a": {}, "b": {"train": {"precision": "float16"}}}
    assert machine_settings.begun_with(Config(members=members)).precisions == {
        "a": "float32",
        "b": "float16",
    }


def test_who_only_looks_at_a_folder_starts_no_backend(monkeypatch):
    monkeypatch.setattr(machine_settings.precision, "here", lambda threads: 1 / 0)
    config = Config(train={"precision": "auto"}, members={"a": {}, "new": {}})
    found = machine_settings.as_begun(config, Begun(3), asks=False)
    assert (found.train.threads, found.train.precision) == (3, "auto")
    begun = Begun(3, {"a": "bfloat16"})
    assert machine_settings.as_begun(config, begun, asks=False).train.precision == "bfloat16"
