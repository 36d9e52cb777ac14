"""Every setting of a run as frozen pydantic models: what each one means and may be.

First stage of the pipeline: all other modules take these models and never read YAML themselves.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from kaggle_digits.config.averaging import Ensemble
from kaggle_digits.config.problems import Expected
from kaggle_digits.config.section import Section, merged, validated

Probability = Annotated[float, Field(ge=0, le=1)]
Range = Annotated[tuple[float, float], Expected("two numbers, for example [-15, 15]")]
Changes = Annotated[dict[str, Any], Expected("keys with values, as the section itself has")]
Number = Annotated[int | float | None, Expected("a number")]
Width = Annotated[int, Field(ge=1, le=8192)]
SIDE = 28  # of an image, pixels
WARMUP_FRACTION = 0.2  # of the epochs, where the warm-up would fill them
AUTO = "auto"  # as a number of threads: one for each core
MEMBER_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,39}")
CALLBACK = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")  # package.module:factory


class Data(Section):
    """Where the competition's files are."""

    expected: ClassVar[str] = "keys with values, for example {path: my-data}"

    path: str | None = Field(None, description="folder or zip; --data goes before it")


class Folds(Section):
    """How the training rows are split for out-of-fold predictions."""

    count: int = Field(3, ge=2, le=50, description="number of stratified folds")


class Elastic(Section):
    """Smooth random displacement, as handwriting varies (Simard et al. 2003)."""

    p: Probability = Field(0.5, description="fraction of images that it is applied to")
    alpha: float = Field(30.0, gt=0, description="strength of the displacement")
    sigma: float = Field(5.0, ge=1, description="smoothness of the displacement, pixels")


class Grid(Section):
    """Grid distortion: neighbouring strips of the image are stretched or squeezed."""

    p: Probability = Field(0.0, description="fraction of images that it is applied to")
    steps: int = Field(4, ge=1, le=14, description="number of strips in each direction")
    limit: Probability = Field(0.3, description="largest stretch of a strip, fraction of its width")


class Augment(Section):
    """Random changes that keep a digit's meaning; there are no flips, a mirrored 2 is no digit."""

    variants: int | None = Field(
        None, ge=1, description="augmented copies of all rows in the bank; null: one per epoch"
    )
    rotate: Range = Field((-12.0, 12.0), description="rotation, degrees")
    scale: Range = Field((0.9, 1.1), description="zoom factor, each axis on its own")
    translate: Range = Field((-0.1, 0.1), description="shift, fraction of width and height")
    shear: Range = Field((-8.0, 8.0), description="slant, degrees")
    affine_probability: Probability = Field(
        1.0, description="fraction of images that get the four changes above"
    )
    elastic: Elastic = Elastic()
    grid: Grid = Grid()

    def canonical(self) -> Augment:
        """Return settings that give the same images: a change that never happens is at defaults."""
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

    expected: ClassVar[str] = "a stage, for example {width: 24, pool: first}"

    width: int = Field(ge=1, le=2048, description="channels")
    depth: int = Field(1, ge=1, le=50, description="number of convolutions")
    kernel: int = Field(3, ge=1, le=28, description="side of the kernel, pixels")
    pool: Literal["none", "first", "last"] = Field(
        "none", description="where 2x2 max pooling follows a convolution of the stage, if at all"
    )
    padding: Literal["same", "valid"] = Field("same", description="keep the size, or shrink")
    stride: Literal[1, 2] = Field(1, description="step of the stage's first convolution, pixels")


class Model(Section):
    """A deep batch-norm CNN: stages one after the other, then pooling and dense layers."""

    stages: Annotated[
        tuple[Stage, ...], Expected("a list of stages, for example [{width: 24, pool: first}]")
    ] = Field(
        (
            Stage(width=24, pool="first"),
            Stage(width=48, depth=2, pool="last"),
            Stage(width=96, depth=2, pool="last"),
        ),
        min_length=1,
        description="from the image to the pooling",
    )
    pooling: Literal["flatten", "average", "max"] = Field(
        "flatten", description="how the last map becomes a vector"
    )
    dense: Annotated[tuple[Width, ...], Expected("a list of widths, for example [128]")] = Field(
        (), description="widths of the hidden layers after it"
    )
    dropout: float = Field(0.3, ge=0, lt=1, description="fraction dropped before a dense layer")

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


class Member(Section):
    """What a member of the ensemble changes in `model`, `train` or `augment`."""

    expected: ClassVar[str] = "the member's sections, for example {model: {dropout: 0.5}}"

    model: Changes = Field({}, description="changed keys of the net")
    train: Changes = Field({}, description="changed keys of the training")
    augment: Changes = Field({}, description="changed keys of the augmentation")


class MemberSettings(Section):
    """The resolved settings of one member; what its fits depend on."""

    model: Model
    train: Train
    augment: Augment

    def canonical(self) -> MemberSettings:
        """Return settings that give the same fits, each section in its canonical form."""
        sections = {"train": self.train.canonical(), "augment": self.augment.canonical()}
        return self.model_copy(update=sections)


class SearchParameter(Section):
    """What a search may choose for one setting: a range or a list of choices.

    Integers at both ends make a range of integers.
    """

    expected: ClassVar[str] = "a range or choices, for example {low: 4, high: 9}"

    low: Number = Field(None, description="lower end of a range")
    high: Number = Field(None, description="upper end of a range, itself included")
    step: Annotated[int | float | None, Expected("a number above 0")] = Field(
        None, gt=0, description="distance of neighbouring values"
    )
    sampling: Literal["linear", "log"] = Field("linear", description="log: even in its logarithm")
    choices: Annotated[
        tuple[Any, ...] | None, Expected("a list of values, for example [0.25, 0.5]")
    ] = Field(None, description="values to choose from")
    when: Annotated[
        dict[str, Any], Expected("keys with values, for example {train.optimizer: sgd}")
    ] = Field({}, description="other searched settings that must have a value (or one of a list)")


class Tune(Section):
    """What `kaggle-digits tune` searches, and how; nothing that `run` does depends on it."""

    oracle: Literal["random", "bayesian", "hyperband", "grid"] = Field(
        "bayesian", description="who chooses the next trial"
    )
    objective: Literal["accuracy", "log_loss"] = Field(
        "accuracy", description="out-of-fold figure to make best"
    )
    max_trials: int | None = Field(None, ge=1, description="null: 20, of a grid all")
    holdout_folds: int = Field(
        1, ge=0, description="last folds, which no trial sees, for an honest check at the end"
    )
    row_fraction: float = Field(
        1.0, gt=0, le=1, description="fraction of the other folds' rows in trials"
    )
    epoch_fraction: float = Field(
        1.0, gt=0, le=1, description="fraction of each fit's epochs in trials"
    )
    racing_alpha: float = Field(
        0.05,
        ge=0,
        lt=0.5,
        description="level of the test that stops a trial that cannot catch up; 0: never",
    )
    num_initial_points: int | None = Field(
        None, ge=1, description="bayesian: random trials before it models; null: settings + 1"
    )
    space: Annotated[
        dict[str, SearchParameter], Expected("keys, for example {train.epochs: {low: 4, high: 9}}")
    ] = Field({}, description="config key -> what it may become")


class TuningProvenance(Section):
    """The rows that a search chose settings by; on them a run's figures are optimistic.

    Each digest is of images and labels in row order. Earlier versions stored none of the holdout.
    """

    expected: ClassVar[str] = "what best.yaml of a search has"

    train_data: str = Field(description="digest of all training rows")
    holdout_digest: str | None = Field(None, description="digest of the rows that no trial saw")
    searched_digest: str | None = Field(None, description="digest of the other rows")
    seed: int = Field(ge=0, description="seed of the split into folds")
    folds: int = Field(ge=2, description="folds of the split")
    holdout_folds: int = Field(ge=0, description="its last folds, which no trial saw")
    trials: int = Field(ge=1, description="trials that the best was picked from")


class Config(Section):
    """All settings of a run; the defaults are those of the shipped `quick`, but for its search."""

    seed: int = Field(2026, ge=0, lt=2**31, description="start of every random number")
    data: Data = Data()
    folds: Folds = Folds()
    augment: Augment = Augment()
    model: Model = Model()
    train: Train = Train()
    members: Annotated[
        dict[str, Member], Expected("members with their names, for example {cnn: {}}")
    ] = Field({"cnn": Member()}, min_length=1, description="nets of the ensemble by name")
    ensemble: Ensemble = Ensemble()
    callbacks: Annotated[
        tuple[str, ...], Expected("a list, for example [my_module:make_callback]")
    ] = Field((), description="package.module:factory of Keras callbacks that every fit gets")
    tune: Tune = Tune()
    tuned: Annotated[
        tuple[TuningProvenance, ...], Expected("a list, as best.yaml of a search has it")
    ] = Field((), description="searches that chose settings of it; more than one after extend")

    @field_validator("tuned", mode="before")
    @classmethod
    def _as_list(cls, tuned: Any) -> Any:
        if tuned is None:
            return ()
        return (tuned,) if isinstance(tuned, dict) else tuned

    @model_validator(mode="after")
    def _leaves_folds_to_search(self) -> Config:
        if self.tune.holdout_folds >= self.folds.count:
            raise ValueError(
                f"tune.holdout_folds: must be below folds.count ({self.folds.count}), found "
                f"{self.tune.holdout_folds}"
            )
        return self

    @model_validator(mode="after")
    def _names_callbacks(self) -> Config:
        for place, callback in enumerate(self.callbacks):
            if not CALLBACK.fullmatch(callback):
                raise ValueError(
                    f"callbacks.{place}: expected package.module:factory, found {callback!r:.80}"
                )
        return self

    @model_validator(mode="after")
    def _members_resolve(self) -> Config:
        for name in self.members:
            if not MEMBER_NAME.fullmatch(name):
                raise ValueError(
                    f"members.{name}: a name has 1 to 40 of a-z, 0-9 and _, and begins with a "
                    "letter or digit"
                )
            threads = self.member(name).train.threads
            if threads != self.train.threads:
                raise ValueError(
                    f"members.{name}.train.threads: must be train.threads ({self.train.threads}), "
                    f"one for a whole process; found {threads}, give it as train.threads"
                )
        return self

    @model_validator(mode="after")
    def _weighs_members(self) -> Config:
        if unknown := self.ensemble.weights.keys() - self.members.keys():
            raise ValueError(f"ensemble.weights.{min(unknown)}: there is no member of this name")
        return self

    @cached_property
    def _resolved(self) -> dict[str, MemberSettings]:
        common = {name: getattr(self, name).model_dump() for name in MemberSettings.model_fields}
        return {
            name: validated(
                MemberSettings,
                {section: merged(common[section], getattr(member, section)) for section in common},
                f"members.{name}.",
            )
            for name, member in self.members.items()
        }

    def member(self, name: str) -> MemberSettings:
        """Return a member's settings: the common sections with the member's changes over them.

        Args:
            name: a key of `members`.

        Returns:
            The settings that every fit of the member uses.
        """
        return self._resolved[name]

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy as pydantic does; the copy resolves its members itself."""
        copy = super().model_copy(update=update, deep=deep)
        copy.__dict__.pop("_resolved", None)
        return copy

    def identity(self) -> dict[str, Any]:
        """Return what results depend on; where the data is and callbacks are no part of it."""
        values = super().identity()
        return {key: value for key, value in values.items() if key not in ("data", "callbacks")}
