"""What this processor or GPU is fast in: the decision behind `train.precision: auto`.

Who tells devices apart is `backend`, what a processor can do is known to `system.environment`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from kaggle_digits.config.train_section import FLOAT32, Precision
from kaggle_digits.system import environment
from kaggle_digits.training import backend
from kaggle_digits.training.backend import Accelerator

# Flags of a processor with instructions for a precision; without one it is emulated.
INSTRUCTIONS = {
    "bfloat16": ("avx512_bf16", "amx_bf16"),
    "float16": ("avx512_fp16", "amx_fp16"),
}
# The first compute capability with units for a precision: A100 and V100.
CAPABILITIES = {"bfloat16": (8, 0), "float16": (7, 0)}


@dataclass(frozen=True)
class Choice:
    """A precision.

    Attributes:
        precision: what to train in.
        reason: why, for people.
    """

    precision: Precision
    reason: str


def best_for(device: Accelerator | None, flags: Collection[str]) -> Choice:
    """Choose what nets are trained in.

    Args:
        device: the GPU or TPU; None: they are trained on the processor.
        flags: what the processor can do, see `environment.processor_flags`.

    Returns:
        bfloat16 where there are instructions or units for it, which needs no loss scaling; on a GPU
        that has them for float16 only, that; else float32. A processor's float16 is not chosen.
    """
    if device is None:
        found = [flag for flag in INSTRUCTIONS["bfloat16"] if flag in flags]
        if found:
            return Choice("bfloat16", f"the processor has {found[0]}")
        return Choice(FLOAT32, f"the processor has no {' or '.join(INSTRUCTIONS['bfloat16'])}")
    if device.kind == "TPU":
        return Choice("bfloat16", f"{device.name} is made for it")
    if device.capability is None:
        return Choice(FLOAT32, f"the compute capability of {device.name} is not known")
    reason = f"{device.name} has compute capability {'.'.join(map(str, device.capability))}"
    for precision, first in CAPABILITIES.items():
        if device.capability >= first:
            return Choice(precision, reason)
    return Choice(FLOAT32, reason)


def here(threads: int) -> Choice:
    """Choose what nets are trained in on this machine; starts the backend.

    Args:
        threads: what the backend gets, see `backend.configure`.
    """
    backend.configure(threads)
    device = _device()
    if device is None and not backend.gains_on_processors():
        return Choice(FLOAT32, f"{backend.name()} gains nothing by another on a processor")
    return best_for(device, environment.processor_flags())


def why_slow(precision: Precision) -> str | None:
    """Return why a precision is slower here than float32, after `backend.configure`; None if not.

    Args:
        precision: what nets are trained in.
    """
    if precision == FLOAT32:
        return None
    device = _device()
    if device is None:
        wanted = INSTRUCTIONS[precision]
        if environment.processor_flags().isdisjoint(wanted):
            return f"the processor has no {' or '.join(wanted)}"
    elif device.kind == "TPU":
        return None if precision == "bfloat16" else f"{device.name} is made for bfloat16"
    elif device.capability is not None and device.capability < CAPABILITIES[precision]:
        return best_for(device, ()).reason
    return None


def _device() -> Accelerator | None:
    return next(iter(backend.devices()), None)
