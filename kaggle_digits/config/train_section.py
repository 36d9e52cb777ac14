"""The `train` section of a config: optimizer, schedule, and what else decides how a net learns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from kaggle_digits.config.problems import Expected
from kaggle_digits.config.section import AUTO as AUTO
from kaggle_digits.config.section import Section

WARMUP_FRACTION = 0.2  # of the epochs, where the warm-up would fill them
Monitored = Literal["val_loss", "val_accuracy"]
FLOAT32 = "float32"
Precision = Literal["float32", "bfloat16", "float16"]


class Plateau(Section):
    """Lowers the learning rate where a figure of the held-out rows no longer gets better."""

    monitor: Monitored = Field("val_loss", description="figure of the held-out rows")
    factor: float = Field(0.5, gt=0, lt=1, description="what the learning rate is multiplied by")
    patience: int = Field(3, ge=1, description="epochs without a better figure before that")
    min_learning_rate: float = Field(0.0, ge=0, description="where it stays")


class EarlyStopping(Section):
    """Ends training where a figure of the held-out rows no longer gets better."""

    patience: int | None = Field(
        None, ge=1, description="epochs without a better figure; null: all epochs are trained"
    )
    monitor: Monitored = Field(
        "val_loss", description="figure of the held-out rows; its best epoch's weights are kept"
    )


class Train(Section):
    """How one net is trained."""

    former_defaults: ClassVar[Mapping[str, Any]] = {
        "threads": 2,
        "epochs": 7,
        "optimizer": "adamw",
        "learning_rate": 8e-3,
    }
    later: ClassVar[frozenset[str]] = frozenset(
        (
            "schedule",
            "decay_factor",
            "plateau",
            "early_stopping",
            "ema_momentum",
            "ema_warmup",
            "norm_statistics",
            "mixup",
            "precision",
            "row_fraction",
        )
    )

    epochs: int = Field(10, ge=1, description="passes over the fold's training rows")
    batch_size: int = Field(128, ge=2, description="images per step")
    optimizer: Literal["adamw", "adam", "sgd", "muon"] = Field(
        "muon",
        description="sgd: with Nesterov momentum; muon: of kernels, and adamw of the last layer, "
        "biases and batch norm",
    )
    learning_rate: float = Field(1e-2, gt=0, description="at the top of the schedule")
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd and muon")
    weight_decay: float = Field(
        0.05, ge=0, description="decoupled; not of adam, not on biases and batch norm"
    )
    schedule: Literal["cosine", "constant", "exponential", "plateau"] = Field(
        "cosine",
        description="cosine: a linear rise, then a cosine to zero; exponential: times decay_factor "
        "after each epoch; plateau: lowered where the held-out rows show no progress",
    )
    warmup_epochs: float = Field(
        1.0,
        ge=0,
        description="linear rise before the cosine fall; where it would leave no epoch for that, a "
        "fifth of the epochs",
    )
    decay_factor: float = Field(0.95, gt=0, le=1, description="of schedule exponential, an epoch")
    plateau: Plateau = Plateau()
    early_stopping: EarlyStopping = EarlyStopping()
    label_smoothing: float = Field(0.05, ge=0, lt=1, description="fraction given to all classes")
    mixup: float = Field(
        0.0,
        ge=0,
        description="images and labels are mixed by two, with weights from Beta(mixup, mixup); "
        "0: none",
    )
    row_fraction: float = Field(
        1.0,
        gt=0,
        le=1,
        description="fraction of the training rows in an epoch: first all once, then half of it "
        "those that the net finds hardest, and a draw of the others",
    )
    ema_epochs: float = Field(
        0.5, ge=0, description="span of the moving average of the weights, epochs; 0: none"
    )
    ema_momentum: float | None = Field(
        None, gt=0, lt=1, description="of that average, a step; null: it follows from ema_epochs"
    )
    ema_warmup: bool = Field(
        False, description="after n steps its momentum is at most (1 + n) / (10 + n)"
    )
    norm_statistics: Literal["estimated", "moving"] = Field(
        "estimated",
        description="batch norm's means and variances: estimated again, on clean images with the "
        "final weights; or the moving averages of training",
    )
    threads: Annotated[
        Literal["auto"] | Annotated[int, Field(ge=1)],
        Expected("auto or a whole number, at least 1"),
    ] = Field(
        AUTO, description="CPU threads, auto: one for each core; results depend on the number"
    )
    precision: Literal[Precision, "auto"] = Field(
        FLOAT32,
        description="what the maps are computed in; auto: what this processor or GPU is fast in",
    )

    def canonical(self) -> Train:
        """Return settings that train alike, without what has no effect.

        What optimizer, schedule and averaging do not use is at its default, and the warm-up is the
        one in effect.
        """
        unused = {
            "momentum": self.optimizer not in ("sgd", "muon"),
            "weight_decay": self.optimizer == "adam",
            "warmup_epochs": self.schedule != "cosine",
            "decay_factor": self.schedule != "exponential",
            "plateau": self.schedule != "plateau",
            "early_stopping": self.early_stopping.patience is None,
            "ema_epochs": self.ema_momentum is not None,
            "ema_warmup": not self.averages,
        }
        changes: dict[str, Any] = {"warmup_epochs": self.warmup}
        for name, has_no_effect in unused.items():
            if has_no_effect:
                changes[name] = Train.model_fields[name].default
        return self.model_copy(update=changes)

    def rows_an_epoch(self, rows: int) -> int:
        """Return how many of so many training rows an epoch trains on."""
        return min(rows, max(2, round(self.row_fraction * rows)))

    @property
    def warmup(self) -> float:
        """Epochs in which the learning rate rises: `warmup_epochs`, unless it fills all epochs."""
        if self.warmup_epochs < self.epochs:
            return self.warmup_epochs
        # So that most of the run remains for the fall. A rise that ends before is as it was given.
        return WARMUP_FRACTION * self.epochs

    @property
    def averages(self) -> bool:
        """Whether a net ends with a moving average of its weights."""
        return self.ema_momentum is not None or self.ema_epochs > 0

    @property
    def picks_on_heldout(self) -> bool:
        """Whether training looks at the rows that it holds out; figures on them are optimistic."""
        return self.schedule == "plateau" or self.early_stopping.patience is not None
