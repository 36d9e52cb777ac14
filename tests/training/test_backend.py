import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from kaggle_digits.errors import UserError
from kaggle_digits.training import backend


@pytest.fixture
def keras_home(monkeypatch, tmp_path):
    """An empty folder as Keras' own, and no KERAS_BACKEND."""
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda name: f"spec of {name}")
    return tmp_path


@pytest.mark.usefixtures("keras_home")
@pytest.mark.parametrize("wanted", ["tensorflow", "jax", "torch"])
def test_environment_names_the_backend(monkeypatch, wanted):
    monkeypatch.setenv("KERAS_BACKEND", wanted)
    assert backend.name() == wanted


@pytest.mark.usefixtures("keras_home")
def test_tensorflow_is_the_default():
    assert backend.name() == "tensorflow"


@pytest.mark.parametrize(
    ("content", "expected"),
    [('{"backend": "jax"}', "jax"), ('{"epsilon": 1e-7}', "tensorflow"), ("{", "tensorflow")],
)
def test_keras_settings_name_the_backend(keras_home, content, expected):
    (keras_home / "keras.json").write_text(content)
    assert backend.name() == expected


def test_environment_goes_before_keras_settings(monkeypatch, keras_home):
    (keras_home / "keras.json").write_text('{"backend": "jax"}')
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert backend.name() == "torch"


def test_keras_settings_in_the_home_folder(monkeypatch, keras_home):
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setattr(backend.Path, "home", lambda: keras_home)
    (keras_home / ".keras").mkdir()
    (keras_home / ".keras" / "keras.json").write_text('{"backend": "torch"}')
    assert backend.name() == "torch"


def test_unknown_backend_is_refused(monkeypatch, keras_home):
    (keras_home / "keras.json").write_text('{"backend": "openvino"}')
    with pytest.raises(UserError, match=r"keras\.json: expected .*, found openvino"):
        backend.name()
    monkeypatch.setenv("KERAS_BACKEND", "theano")
    with pytest.raises(
        UserError, match="KERAS_BACKEND: expected one of tensorflow, jax, torch, found theano"
    ):
        backend.name()


@pytest.mark.usefixtures("keras_home")
def test_backend_that_is_not_installed_is_refused(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="KERAS_BACKEND: torch is not installed; pip install torch"):
        backend.name()


def run_python(script, **environment):
    return subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


CONFIGURE = """
import sys
from kaggle_digits.training import backend
chosen = backend.name()
light = not {"keras", "tensorflow"} & set(sys.modules)
backend.configure(1)
import json, keras, tensorflow as tf
keras.ops.sum(keras.ops.ones(3))
backend.configure(3)
threads = tf.config.threading.get_intra_op_parallelism_threads()
print(json.dumps([chosen, light, keras.backend.backend(), threads]))
"""


def test_configure_is_silent_and_a_second_call_keeps_the_threads():
    done = run_python(CONFIGURE, KERAS_BACKEND="tensorflow")
    assert done.stderr == ""
    assert json.loads(done.stdout) == ["tensorflow", True, "tensorflow", 1]


def test_configure_after_tensorflow_has_run():
    script = """
import keras
keras.ops.sum(keras.ops.ones(3))
from kaggle_digits.training import backend
backend.configure(1)
"""
    done = run_python(script, KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3")
    assert done.returncode == 0, done.stderr.splitlines()[-1]


def test_start_is_quiet_when_it_succeeds(capfd):
    with backend._quiet_start():
        os.write(2, b"no driver found\n")
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "afterwards\n"


def test_start_that_fails_shows_everything(capfd):
    def start():
        with backend._quiet_start():
            os.write(2, b"no driver found\n")
            raise ImportError

    with pytest.raises(ImportError):
        start()
    assert capfd.readouterr().err == "no driver found\n"


def test_fused_batch_norm_against_numpy():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("only TensorFlow has a fused kernel")
    backend.configure(2)
    generator = np.random.default_rng(1)
    x = generator.normal(2.0, 3.0, (5, 3, 4, 2)).astype(np.float32)
    gamma, beta = np.float32([0.5, 2.0]), np.float32([-1.0, 4.0])
    tensors = map(keras.ops.convert_to_tensor, (x, gamma, beta))
    found = map(keras.ops.convert_to_numpy, backend.fused_batch_norm(*tensors, epsilon=0.25))
    mean, variance = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
    expected = gamma * (x - mean) / np.sqrt(variance + 0.25) + beta, mean, variance
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


# Memory

TOO_MANY = 2**45  # float32 of 128 TiB: more than any machine's address space


def test_the_backends_want_of_memory_is_known():
    backend.configure(2)
    # Each backend has a class of its own. TensorFlow waits 10 s for memory to become free.
    with pytest.raises(Exception) as caught:  # noqa: PT011
        keras.ops.zeros((TOO_MANY,))
    assert backend.is_out_of_memory(caught.value)


def test_pythons_want_of_memory_is_known():
    assert backend.is_out_of_memory(MemoryError())
    with pytest.raises(MemoryError) as caught:
        np.empty(TOO_MANY)  # by numpy's own class
    assert backend.is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory. Tried to get 2 GiB"),
        type("XlaRuntimeError", (RuntimeError,), {})("RESOURCE_EXHAUSTED: Out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate"),
    ],
)
def test_other_backends_want_of_memory_is_known(error):
    assert backend.is_out_of_memory(error)


@pytest.mark.parametrize(
    "error", [ValueError("no such shape"), OSError(28, "No space left on device"), KeyError("x")]
)
def test_other_errors_are_no_want_of_memory(error):
    assert not backend.is_out_of_memory(error)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((5, 2), "float32"), ((5, 7, 2), "float32"), ((5, 3, 4, 2), "float16")]
)
def test_no_fused_batch_norm_for_other_inputs(shape, dtype):
    backend.configure(2)
    x, scale = keras.ops.ones(shape, dtype), keras.ops.ones(2, dtype)
    assert backend.fused_batch_norm(x, scale, scale, epsilon=1e-5) is None


def test_no_fused_batch_norm_on_another_backend(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    x, scale = np.ones((5, 3, 4, 2), np.float32), np.ones(2, np.float32)
    assert backend.fused_batch_norm(x, scale, scale, epsilon=1e-5) is None
