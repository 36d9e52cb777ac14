"""The sections of a config as frozen pydantic models: what each setting means and may be."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Probability = Annotated[float, Field(ge=0, le=1)]
Range = tuple[float, float]
Width = Annotated[int, Field(ge=1, le=8192)]
SIDE = 28  # of an image, pixels


class Section(BaseModel):
    """Base of all sections: frozen, and a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Data(Section):
    """Where the competition's files are."""

    path: str | None = Field(None, description="folder or zip; --data goes before it")


class Folds(Section):
    """How the training rows are split for out-of-fold predictions."""

    count: int = Field(3, ge=2, le=50, description="number of stratified folds")


class Elastic(Section):
    """Smooth random displacement, as handwriting varies (Simard et al. 2003)."""

    p: Probability = Field(0.5, description="share of images that it is applied to")
    alpha: float = Field(30.0, gt=0, description="strength of the displacement")
    sigma: float = Field(5.0, ge=1, description="smoothness of the displacement, pixels")


class Grid(Section):
    """Grid distortion: neighbouring strips of the image are stretched or squeezed."""

    p: Probability = Field(0.0, description="share of images that it is applied to")
    steps: int = Field(4, ge=1, le=14, description="number of strips in each direction")
    limit: Probability = Field(0.3, description="largest stretch of a strip, share of its width")


class Augment(Section):
    """Random changes that keep a digit's meaning; there are no flips, a mirrored 2 is no digit."""

    variants: int | None = Field(
        None, ge=1, description="augmented copies of all rows in the bank; null: one an epoch"
    )
    rotate: Range = Field((-12.0, 12.0), description="rotation, degrees")
    scale: Range = Field((0.9, 1.1), description="zoom factor, each axis on its own")
    translate: Range = Field((-0.1, 0.1), description="shift, share of width and height")
    shear: Range = Field((-8.0, 8.0), description="slant, degrees")
    affine_probability: Probability = Field(
        1.0, description="share of images that are moved like this"
    )
    elastic: Elastic = Elastic()
    grid: Grid = Grid()

    def canonical(self) -> Augment:
        """Return settings of the same images: a change that never happens has its defaults."""
        changes: dict[str, Any] = {}
        if self.elastic.p == 0:
            changes["elastic"] = Elastic(p=0)
        if self.grid.p == 0:
            changes["grid"] = Grid(p=0)
        if self.affine_probability == 0:
            for name in ("rotate", "scale", "translate", "shear"):
                changes[name] = Augment.model_fields[name].default
        return self.model_copy(update=changes)

    @model_validator(mode="after")
    def _ordered(self) -> Augment:
        for name in ("rotate", "scale", "translate", "shear"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}: the lower end {low} is above the upper end {high}")
        if self.scale[0] <= 0:
            raise ValueError(f"scale: must be above 0, found {self.scale[0]}")
        return self


class Stage(Section):
    """Convolutions of one width; each is convolution, (pooling), batch norm, ReLU."""

    width: int = Field(ge=1, le=2048, description="channels")
    depth: int = Field(1, ge=1, le=50, description="number of convolutions")
    kernel: int = Field(3, ge=1, le=28, description="side of the kernel, pixels")
    pool: Literal["none", "first", "last"] = Field(
        "none", description="where 2x2 max pooling follows a convolution of the stage, if at all"
    )
    padding: Literal["same", "valid"] = Field("same", description="keep the size, or shrink")
    stride: Literal[1, 2] = Field(1, description="step of the stage's first convolution, pixels")


class Model(Section):
    """A deep batch-norm CNN: stages one after the other, then a head."""

    stages: tuple[Stage, ...] = Field(
        (
            Stage(width=24, pool="first"),
            Stage(width=48, depth=2, pool="last"),
            Stage(width=96, depth=2, pool="last"),
        ),
        min_length=1,
        description="from the image to the head",
    )
    head: Literal["flatten", "average", "max"] = Field(
        "flatten", description="how the last map becomes a vector"
    )
    dense: tuple[Width, ...] = Field((), description="widths of hidden layers in the head")
    dropout: float = Field(0.3, ge=0, lt=1, description="share of inputs dropped before a dense")

    @model_validator(mode="after")
    def _leaves_a_map(self) -> Model:
        side = SIDE
        for number, stage in enumerate(self.stages):
            for position in range(1, stage.depth + 1):
                if stage.padding == "valid":
                    side -= stage.kernel - 1
                if position == 1:
                    side = math.ceil(side / stage.stride)
                if (stage.pool, position) in (("first", 1), ("last", stage.depth)):
                    side //= 2
                if side < 1:
                    raise ValueError(
                        f"stages.{number}: nothing is left of the image after convolution "
                        f"{position}; pool less, or use padding: same"
                    )
        return self


class Train(Section):
    """How one net is trained."""

    epochs: int = Field(7, ge=1, description="passes over the fold's training rows")
    batch_size: int = Field(128, ge=2, description="images a step")
    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="sgd: Nesterov momentum")
    learning_rate: float = Field(8e-3, gt=0, description="at the top of the schedule")
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd")
    weight_decay: float = Field(0.05, ge=0, description="decoupled; not on biases and batch norm")
    warmup_epochs: float = Field(1.0, ge=0, description="linear rise before the cosine fall")
    label_smoothing: float = Field(0.05, ge=0, lt=1, description="share given to all classes")
    ema_epochs: float = Field(
        0.5, ge=0, description="span of the moving average of the weights, epochs; 0: none"
    )
    threads: int = Field(2, ge=1, description="CPU threads; results depend on the number")

    def canonical(self) -> Train:
        """Return settings of the same training: what the optimizer has not is at its default."""
        if self.optimizer == "sgd":
            return self
        return self.model_copy(update={"momentum": Train.model_fields["momentum"].default})

    @model_validator(mode="after")
    def _spans_fit(self) -> Train:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs: must be below epochs ({self.epochs}), found {self.warmup_epochs}"
            )
        return self


class Member(Section):
    """What a member of the ensemble changes in `model`, `train` or `augment`."""

    model: dict[str, Any] = {}
    train: dict[str, Any] = {}
    augment: dict[str, Any] = {}


class Ensemble(Section):
    """How the fits' probabilities become one prediction."""

    method: Literal["arithmetic", "geometric", "vote"] = Field(
        "arithmetic", description="mean of probabilities, of their logarithms, or majority"
    )


class MemberSettings(Section):
    """The resolved settings of one member; what its fits depend on."""

    model: Model
    train: Train
    augment: Augment


class SearchParameter(Section):
    """What a search may choose for one setting: a range or a list of choices.

    Integers at both ends make a range of integers.
    """

    low: int | float | None = Field(None, description="lower end of a range")
    high: int | float | None = Field(None, description="upper end of a range, itself included")
    step: int | float | None = Field(None, gt=0, description="distance of neighbouring values")
    sampling: Literal["linear", "log"] = Field("linear", description="log: even in its logarithm")
    choices: tuple[Any, ...] | None = Field(None, description="values to choose from")
    when: dict[str, Any] = Field(
        {}, description="other searched settings that must have a value (or one of a list)"
    )


class Tune(Section):
    """What `kaggle-digits tune` searches, and how; nothing that `run` does depends on it."""

    oracle: Literal["random", "bayesian", "hyperband", "grid"] = Field(
        "bayesian", description="who chooses the next trial"
    )
    objective: Literal["accuracy", "log_loss"] = Field(
        "accuracy", description="out-of-fold figure to make best"
    )
    trials: int | None = Field(None, ge=1, description="null: 20, of a grid all")
    untouched: int = Field(
        1, ge=0, description="last folds, which no trial sees, for an honest check at the end"
    )
    rows: float = Field(1.0, gt=0, le=1, description="share of the other folds' rows in trials")
    epochs: float = Field(1.0, gt=0, le=1, description="share of each fit's epochs in trials")
    race: float = Field(
        0.05,
        ge=0,
        lt=0.5,
        description="level of the test that stops a trial that cannot catch up; 0: never",
    )
    initial: int | None = Field(
        None, ge=1, description="bayesian: random trials before it models; null: settings + 1"
    )
    space: dict[str, SearchParameter] = Field({}, description="config key -> what it may become")


class TuningProvenance(Section):
    """Where a config's settings come from, so that no run on the same rows boasts of them."""

    train_data: str = Field(description="digest of the training images that chose the settings")
    seed: int = Field(ge=0, description="seed of the split into folds")
    folds: int = Field(ge=2, description="folds of the split")
    untouched: int = Field(ge=0, description="its last folds, which had no part in the choice")
    trials: int = Field(ge=1, description="trials that the best was picked from")
