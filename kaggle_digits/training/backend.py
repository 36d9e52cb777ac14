"""The one place for what a single Keras backend can do; everything here has a plain fallback.

Models and training are written with `keras` and numpy alone. What makes TensorFlow faster or
repeatable on a CPU is here, so that the other modules need not ask which backend runs.
"""

import importlib.util
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kaggle_digits.errors import UserError
from kaggle_digits.system import environment
from kaggle_digits.system.console import count_of

BACKENDS = ("tensorflow", "jax", "torch")


def name() -> str:
    """Return the backend's name as Keras has chosen it, or will choose it; imports no Keras.

    Raises:
        UserError: it is none that Keras can train with, or it is not installed.
    """
    chosen, origin = os.environ.get("KERAS_BACKEND"), "KERAS_BACKEND"
    keras = sys.modules.get("keras")
    if keras and hasattr(keras, "config"):  # an import that has only begun has none yet
        chosen, origin = keras.config.backend(), "the backend that Keras was imported with"
    elif not chosen:
        settings = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "keras.json"
        origin = str(settings)
        try:
            chosen = json.loads(settings.read_text()).get("backend", BACKENDS[0])
        except (OSError, ValueError, AttributeError):
            chosen = BACKENDS[0]
    if chosen not in BACKENDS:
        raise UserError(f"{origin}: expected one of {', '.join(BACKENDS)}, found {chosen}")
    if importlib.util.find_spec(chosen) is None:
        raise UserError(f"{origin}: {chosen} is not installed; pip install {chosen}, or unset it")
    return chosen


def load() -> None:
    """Import the backend without a word of its own; `configure` still sets its threads."""
    with _quiet_start():
        import keras  # noqa: F401


def configure(threads: int) -> None:
    """Import the backend and give it a number of threads; TensorFlow is made repeatable.

    PyTorch repeats itself as far as its kernels do. JAX takes no number of threads here.

    Call it before the first tensor is made. In a process where TensorFlow has run already, the
    number of threads stays as it was.

    Args:
        threads: CPU threads for one operation. Summation order, and with it the last bits of every
            result, depends on this number.
    """
    environment.keep_freed_memory()
    with _quiet_start():
        import keras

        # A person's keras.json may say otherwise, and results would depend on it.
        keras.config.set_floatx("float32")
        keras.config.set_epsilon(1e-7)
        keras.config.set_image_data_format("channels_last")
        keras.config.set_dtype_policy("float32")
        backend = keras.backend.backend()
        if backend == "tensorflow":
            import tensorflow as tf

            tf.get_logger().setLevel("ERROR")  # it warns of each fit's new predict function
            with suppress(RuntimeError):  # TensorFlow has run already
                tf.config.threading.set_intra_op_parallelism_threads(threads)
                tf.config.threading.set_inter_op_parallelism_threads(1)
            tf.config.experimental.enable_op_determinism()
            tf.zeros(())  # starts the devices, which is when TensorFlow speaks of missing drivers
        elif backend == "torch":
            import torch

            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(True, warn_only=True)


@dataclass(frozen=True)
class Accelerator:
    """A GPU or TPU.

    Attributes:
        name: its model.
        kind: GPU or TPU.
        capability: NVIDIA's compute capability, (7, 5) of a T4; None: not known, or not NVIDIA's.
    """

    name: str
    kind: Literal["GPU", "TPU"] = "GPU"
    capability: tuple[int, int] | None = None


def devices() -> list[Accelerator]:
    """Return the GPUs or TPUs that the backend sees, after `configure`; the first one is used."""
    import keras

    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        found = [d for d in tf.config.list_physical_devices() if d.device_type != "CPU"]
        return [_of_tensorflow(tf, each) for each in found]
    if backend == "jax":
        import jax

        return [_of_jax(each) for each in jax.devices() if each.platform != "cpu"]
    import torch

    # AMD's have numbers of their own.
    capability = (lambda number: None) if torch.version.hip else torch.cuda.get_device_capability
    return [
        Accelerator(torch.cuda.get_device_name(number), "GPU", capability(number))
        for number in range(torch.cuda.device_count())
    ]


def _of_tensorflow(tf, device) -> Accelerator:
    if device.device_type != "GPU":
        return Accelerator("TPU", "TPU")
    details = tf.config.experimental.get_device_details(device)
    return Accelerator(
        details.get("device_name", device.device_type), "GPU", details.get("compute_capability")
    )


def _of_jax(device) -> Accelerator:
    if device.platform == "tpu":
        return Accelerator(device.device_kind, "TPU")
    numbers = re.fullmatch(r"(\d+)\.(\d+)", str(getattr(device, "compute_capability", "")))
    capability = (int(numbers[1]), int(numbers[2])) if numbers else None
    return Accelerator(device.device_kind, "GPU", capability)


def accelerators() -> list[str]:
    """Return the names of the GPUs or TPUs, see `devices`."""
    return [device.name for device in devices()]


def description(threads: int) -> str:
    """Write for people what nets are trained on, after `configure`."""
    import keras

    backend = keras.backend.backend()
    versions = environment.package_versions()
    found = accelerators()
    if found:
        device = found[0] + (f" (the first of {len(found)}, one is used)" if found[1:] else "")
    elif backend == "jax":
        device = "CPU, no GPU found (JAX chooses the number of threads)"
    else:
        device = f"CPU with {count_of(threads, 'thread')}, no GPU found"
    return f"{backend} {versions[backend]}, keras {keras.version()}; {device}"


def gains_on_processors() -> bool:
    """Return whether low precision can be faster than float32 on a processor.

    TensorFlow and PyTorch compute with oneDNN, which has kernels for it; with JAX bfloat16 took as
    long as float32.
    """
    return name() != "jax"


def multiplies_in_float32() -> bool:
    """Return whether products of float32 matrices are computed in float32.

    GPUs and TPUs round what they multiply to TensorFloat-32 or bfloat16, unless told otherwise.
    """
    return not accelerators()


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception of any backend, or of Python, means "not enough memory"."""
    # The classes differ by backend and by version (ResourceExhaustedError, XlaRuntimeError,
    # OutOfMemoryError, MemoryError, RuntimeError); these words of theirs do not.
    text = f"{type(error).__name__}: {error}"
    signs = ("ResourceExhausted", "RESOURCE_EXHAUSTED", "OutOfMemory", "MemoryError", "allocate")
    return any(sign in text for sign in signs)


@contextmanager
def _quiet_start() -> Iterator[None]:
    """Hold back what a backend's native code writes to standard error while it starts.

    TensorFlow reports drivers and instruction sets there, whatever its settings say. If the start
    fails, all of it is shown; a stop by a signal is no failure.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:
            held.seek(0)
            os.write(original, held.read())
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)


def fused_batch_norm(x, gamma, beta, epsilon: float):
    """Normalise a batch over all axes but the last with the backend's fused kernel.

    Args:
        x: (n, h, w, c) float32, bfloat16 or float16 tensor.
        gamma: (c,) float32 scale.
        beta: (c,) float32 offset.
        epsilon: added to the variance.

    Returns:
        (normalised x, batch mean (c,), biased batch variance (c,)), or None where this backend has
        no such kernel for this input and the caller has to use element-wise operations. On a
        CPU TensorFlow's kernel takes about half the time of those. Whatever x is, the statistics
        are float32 and computed in it.
    """
    import keras

    kinds = ("float32", "bfloat16", "float16")
    if keras.backend.backend() != "tensorflow" or len(x.shape) != 4 or x.dtype not in kinds:
        return None
    import tensorflow as tf

    y, mean, variance = tf.compat.v1.nn.fused_batch_norm(
        x, gamma, beta, epsilon=epsilon, is_training=True
    )
    # The kernel returns the unbiased variance (n / (n - 1)); Keras averages the biased one.
    count = tf.cast(tf.size(x) / tf.shape(x)[-1], "float32")
    return y, mean, variance * (count - 1.0) / count


def leave_out_replicas(optimizer) -> None:
    """Have an optimizer apply gradients as they are, without a sum over replicas.

    There is one replica, so nothing else changes; but for that sum TensorFlow registers a gradient
    function with each trace, and with it keeps the graph of every fit, some 27 MB, for ever.

    Args:
        optimizer: a Keras optimizer, changed in place.
    """
    import keras

    if keras.backend.backend() == "tensorflow" and hasattr(optimizer, "_all_reduce_sum_gradients"):
        optimizer._all_reduce_sum_gradients = list
