import json
import os
import subprocess
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from kaggle_digits.errors import UserError
from kaggle_digits.training import backend
from kaggle_digits.training.backend import Accelerator


@pytest.fixture
def keras_home(monkeypatch, tmp_path):
    """An empty folder as Keras' own, and no KERAS_BACKEND."""
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.delitem(sys.modules, "keras", raising=False)
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
    [
        ('{"backend": "jax"}', "jax"),
        ('{"epsilon": 1e-7}', "tensorflow"),
        ("{", "tensorflow"),
        ("[]", "tensorflow"),
    ],
)
def test_keras_settings_name_the_backend(keras_home, content, expected):
    (keras_home / "keras.json").write_text(content)
    assert backend.name() == expected


def test_environment_goes_before_keras_settings(monkeypatch, keras_home):
    (keras_home / "keras.json").write_text('{"backend": "jax"}')
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert backend.name() == "torch"


@pytest.mark.usefixtures("keras_home")
def test_a_backend_that_keras_was_imported_with_goes_before_all(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.setitem(sys.modules, "keras", keras)
    assert backend.name() == "tensorflow"
    config = SimpleNamespace(backend=lambda: "numpy")
    monkeypatch.setitem(sys.modules, "keras", SimpleNamespace(config=config))
    with pytest.raises(UserError, match=r"^the backend that Keras was imported with: .* numpy"):
        backend.name()


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
from kaggle_digits.training.backend import Accelerator
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
from kaggle_digits.training.backend import Accelerator
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


@pytest.mark.parametrize(("dtype", "rounding"), [("bfloat16", 2**-8), ("float16", 2**-11)])
def test_fused_batch_norm_of_low_precision_has_float32_statistics(dtype, rounding):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("only TensorFlow has a fused kernel")
    backend.configure(2)
    # Their sums are far beyond what either type can count exactly.
    x = np.random.default_rng(1).integers(96, 128, (8, 20, 20, 2)).astype(np.float32)
    scale, offset = np.ones(2, np.float32), np.zeros(2, np.float32)
    low = keras.ops.cast(keras.ops.convert_to_tensor(x), dtype)
    y, mean, variance = backend.fused_batch_norm(low, scale, offset, epsilon=0.25)
    assert [keras.backend.standardize_dtype(each.dtype) for each in (y, mean, variance)] == [
        dtype,
        "float32",
        "float32",
    ]
    axes = (0, 1, 2)
    np.testing.assert_allclose(mean, x.mean(axis=axes), rtol=1e-6)
    np.testing.assert_allclose(variance, x.var(axis=axes), rtol=1e-4)
    expected = (x - x.mean(axis=axes)) / np.sqrt(x.var(axis=axes) + 0.25)
    # Of values up to 2 in size; one rounding.
    found = keras.ops.convert_to_numpy(keras.ops.cast(y, "float32"))
    np.testing.assert_allclose(found, expected, atol=2 * rounding)


# Devices


def test_devices_of_tensorflow(monkeypatch):
    tf = pytest.importorskip("tensorflow")
    found = {
        "cpu": ("CPU", {}),
        "t4": ("GPU", {"device_name": "Tesla T4", "compute_capability": (7, 5)}),
        "amd": ("GPU", {"device_name": "AMD Instinct"}),
        "tpu": ("TPU", {}),
    }
    places = [SimpleNamespace(name=name, device_type=kind) for name, (kind, _) in found.items()]
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda: places)
    monkeypatch.setattr(
        tf.config.experimental, "get_device_details", lambda place: found[place.name][1]
    )
    assert backend.devices() == [
        Accelerator("Tesla T4", "GPU", (7, 5)),
        Accelerator("AMD Instinct", "GPU", None),
        Accelerator("TPU", "TPU"),
    ]
    assert backend.accelerators() == ["Tesla T4", "AMD Instinct", "TPU"]


def test_devices_of_jax(monkeypatch):
    devices = [
        SimpleNamespace(platform="gpu", device_kind="NVIDIA H100", compute_capability="9.0"),
        SimpleNamespace(platform="gpu", device_kind="AMD Instinct", compute_capability="gfx90a"),
        SimpleNamespace(platform="tpu", device_kind="TPU v5 lite"),
        SimpleNamespace(platform="cpu", device_kind="cpu"),
    ]
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(devices=lambda: devices))
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    assert backend.devices() == [
        Accelerator("NVIDIA H100", "GPU", (9, 0)),
        Accelerator("AMD Instinct", "GPU", None),
        Accelerator("TPU v5 lite", "TPU"),
    ]


@pytest.mark.parametrize(("hip", "capability"), [(None, (7, 0)), ("6.2", None)])
def test_devices_of_torch(monkeypatch, hip, capability):
    cuda = SimpleNamespace(
        device_count=lambda: 1,
        get_device_name=lambda number: f"GPU {number}",
        get_device_capability=lambda number: (7, 0),
    )
    torch = SimpleNamespace(cuda=cuda, version=SimpleNamespace(hip=hip))
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    assert backend.devices() == [Accelerator("GPU 0", "GPU", capability)]


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
    ("shape", "dtype"), [((5, 2), "float32"), ((5, 7, 2), "float32"), ((5, 3, 4, 2), "float64")]
)
def test_no_fused_batch_norm_for_other_inputs(shape, dtype):
    backend.configure(2)
    x, scale = keras.ops.ones(shape, dtype), keras.ops.ones(2, dtype)
    assert backend.fused_batch_norm(x, scale, scale, epsilon=1e-5) is None


def test_no_fused_batch_norm_on_another_backend(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    x, scale = np.ones((5, 3, 4, 2), np.float32), np.ones(2, np.float32)
    assert backend.fused_batch_norm(x, scale, scale, epsilon=1e-5) is None
