"""The `train` section of a config: optimizer, schedule, and what else decides how a net learns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from kaggle_digits.config.problems import Expected
from kaggle_digits.config.section import Section

WARMUP_FRACTION = 0.2  # of the epochs, where the warm-up would fill them
AUTO = "auto"  # as a number of threads: one for each core


class Train(Section):
    """How one net is trained."""

    former_defaults: ClassVar[Mapping[str, Any]] = {"threads": 2}

    epochs: int = Field(7, ge=1, description="passes over the fold's training rows")
    batch_size: int = Field(128, ge=2, description="images per step")
    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="sgd: Nesterov momentum")
    learning_rate: float = Field(8e-3, gt=0, description="at the top of the schedule")
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd")
    weight_decay: float = Field(0.05, ge=0, description="decoupled; not on biases and batch norm")
    warmup_epochs: float = Field(
        1.0,
        ge=0,
        description="linear rise before the cosine fall; where it would leave no epoch for that, a "
        "fifth of the epochs",
    )
    label_smoothing: float = Field(0.05, ge=0, lt=1, description="fraction given to all classes")
    ema_epochs: float = Field(
        0.5, ge=0, description="span of the moving average of the weights, epochs; 0: none"
    )
    threads: Annotated[
        Literal["auto"] | Annotated[int, Field(ge=1)],
        Expected("auto or a whole number, at least 1"),
    ] = Field(
        AUTO, description="CPU threads, auto: one for each core; results depend on the number"
    )

    def canonical(self) -> Train:
        """Return settings that train alike, without what has no effect.

        What the optimizer does not use is at its default, and the warm-up is the one in effect.
        """
        changes: dict[str, Any] = {"warmup_epochs": self.warmup}
        if self.optimizer != "sgd":
            changes["momentum"] = Train.model_fields["momentum"].default
        return self.model_copy(update=changes)

    @property
    def warmup(self) -> float:
        """Epochs in which the learning rate rises: `warmup_epochs`, unless it fills all epochs."""
        if self.warmup_epochs < self.epochs:
            return self.warmup_epochs
        # So that most of the run remains for the fall. A rise that ends before is as it was given.
        return WARMUP_FRACTION * self.epochs

    @property
    def picks_on_heldout(self) -> bool:
        """Whether training looks at the rows that it holds out; figures on them are optimistic."""
        return False
