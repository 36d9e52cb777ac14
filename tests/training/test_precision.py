import pytest

from kaggle_digits.system import environment
from kaggle_digits.training import backend, precision
from kaggle_digits.training.backend import Accelerator

ZEN4 = frozenset(("fpu", "avx2", "avx512f", "avx512_bf16"))
SAPPHIRE_RAPIDS = frozenset(("avx2", "amx_bf16", "avx512_fp16"))
HASWELL = frozenset(("fpu", "avx2"))
T4, V100 = Accelerator("Tesla T4", "GPU", (7, 5)), Accelerator("V100", "GPU", (7, 0))
H100, A100 = Accelerator("H100", "GPU", (9, 0)), Accelerator("A100", "GPU", (8, 0))
P100, AMD = Accelerator("P100", "GPU", (6, 0)), Accelerator("AMD Instinct")
TPU = Accelerator("TPU v5 lite", "TPU")


@pytest.mark.parametrize(
    ("device", "flags", "expected", "reason"),
    [
        (None, ZEN4, "bfloat16", "the processor has avx512_bf16"),
        (None, SAPPHIRE_RAPIDS, "bfloat16", "the processor has amx_bf16"),
        (None, HASWELL, "float32", "the processor has no avx512_bf16 or amx_bf16"),
        (None, frozenset(), "float32", "the processor has no avx512_bf16 or amx_bf16"),
        (H100, HASWELL, "bfloat16", "H100 has compute capability 9.0"),
        (A100, HASWELL, "bfloat16", "A100 has compute capability 8.0"),
        (T4, ZEN4, "float16", "Tesla T4 has compute capability 7.5"),
        (V100, ZEN4, "float16", "V100 has compute capability 7.0"),
        (P100, ZEN4, "float32", "P100 has compute capability 6.0"),
        (AMD, ZEN4, "float32", "the compute capability of AMD Instinct is not known"),
        (TPU, HASWELL, "bfloat16", "TPU v5 lite is made for it"),
    ],
)
def test_the_fast_precision_of_a_device(device, flags, expected, reason):
    assert precision.best_for(device, flags) == precision.Choice(expected, reason)


@pytest.fixture
def machine(monkeypatch):
    """Make this machine one with a GPU or TPU, or with none, and a processor."""

    def become(device=None, flags=HASWELL):
        monkeypatch.setattr(backend, "configure", lambda threads: None)
        monkeypatch.setattr(backend, "devices", lambda: [device] if device else [])
        monkeypatch.setattr(environment, "processor_flags", lambda: flags)

    return become


def test_here_is_the_first_device(machine, monkeypatch):
    monkeypatch.setattr(backend, "name", lambda: "tensorflow")
    machine(T4, ZEN4)
    assert precision.here(2).precision == "float16"
    machine(None, ZEN4)
    assert precision.here(2).precision == "bfloat16"


def test_jax_gains_nothing_on_a_processor(machine, monkeypatch):
    monkeypatch.setattr(backend, "name", lambda: "jax")
    machine(None, ZEN4)
    expected = precision.Choice("float32", "jax gains nothing by another on a processor")
    assert precision.here(2) == expected
    machine(H100, ZEN4)
    assert precision.here(2).precision == "bfloat16"


@pytest.mark.parametrize(
    ("chosen", "device", "flags", "reason"),
    [
        ("float32", P100, HASWELL, None),
        ("bfloat16", None, ZEN4, None),
        ("bfloat16", None, HASWELL, "the processor has no avx512_bf16 or amx_bf16"),
        ("float16", None, SAPPHIRE_RAPIDS, None),
        ("float16", None, ZEN4, "the processor has no avx512_fp16 or amx_fp16"),
        ("bfloat16", T4, ZEN4, "Tesla T4 has compute capability 7.5"),
        ("float16", T4, HASWELL, None),
        ("bfloat16", AMD, HASWELL, None),  # nobody knows
        ("bfloat16", TPU, HASWELL, None),
        ("float16", TPU, HASWELL, "TPU v5 lite is made for bfloat16"),
    ],
)
def test_why_a_precision_is_slow(machine, chosen, device, flags, reason):
    machine(device, flags)
    assert precision.why_slow(chosen) == reason
