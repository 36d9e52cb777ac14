"""Every setting of a run as frozen pydantic models: what each one means and may be.

First stage of the pipeline: all other modules take these models and never read YAML themselves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from kaggle_digits.config.averaging import Ensemble
from kaggle_digits.config.folds_section import Folds
from kaggle_digits.config.model_section import Model
from kaggle_digits.config.model_section import Stage as Stage
from kaggle_digits.config.problems import Expected
from kaggle_digits.config.provenance import TuningProvenance
from kaggle_digits.config.section import Section, merged, validated
from kaggle_digits.config.train_section import AUTO as AUTO
from kaggle_digits.config.train_section import Precision, Train

Probability = Annotated[float, Field(ge=0, le=1)]
Range = Annotated[tuple[float, float], Expected("two numbers, for example [-15, 15]")]
Changes = Annotated[dict[str, Any], Expected("keys with values, as the section itself has")]
Number = Annotated[int | float | None, Expected("a number")]
MEMBER_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,39}")
CALLBACK = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")  # package.module:factory


class Data(Section):
    """Where the competition's files are."""

    expected: ClassVar[str] = "keys with values, for example {path: my-data}"

    path: str | None = Field(None, description="folder or zip; --data goes before it")


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

    former_defaults: ClassVar[Mapping[str, Any]] = {"stroke": 0.0, "test_shift": 0}
    later: ClassVar[frozenset[str]] = frozenset(
        ("bank", "variant_order", "shift", "cutout", "clean_epochs")
    )
    # What a fit does with the bank's variants; the bank itself does not depend on it.
    of_fits: ClassVar[frozenset[str]] = frozenset(
        (
            "variants",
            "bank",
            "variant_order",
            "shift",
            "stroke",
            "cutout",
            "clean_epochs",
            "test_shift",
        )
    )

    variants: int | None = Field(
        None, ge=1, description="augmented copies of all rows in the bank; null: one per epoch"
    )
    bank: Literal["shared", "own"] = Field(
        "shared",
        description="shared: members with the same changes read the same copies; own: each member "
        "has copies of its own, drawn with other random numbers",
    )
    variant_order: Literal["shared", "own"] = Field(
        "shared",
        description="shared: all rows of an epoch are read from one variant; own: each row goes "
        "through the variants in an order of its own, another in each fit",
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
    shift: int = Field(
        0,
        ge=0,
        le=14,
        description="largest move of an image up, down or sideways, pixels; drawn by each fit for "
        "each epoch, after all of the above",
    )
    stroke: float = Field(
        0.6,
        ge=0,
        le=1,
        description="strokes become thicker or thinner by up to this fraction of a pixel on every "
        "side; drawn by each fit for each epoch, after shift",
    )
    cutout: int = Field(
        0,
        ge=0,
        le=10,
        description="side of the square that becomes background somewhere in the middle 20 x 20 of "
        "each image, pixels; drawn by each fit for each epoch, after stroke; 0: none",
    )
    clean_epochs: int = Field(
        0,
        ge=0,
        description="number of final epochs in which half of the images, drawn at random, are as "
        "they came, without any of the changes above",
    )
    test_shift: int = Field(
        1,
        ge=0,
        le=4,
        description="at prediction, a digit that a net is unsure of counts with the mean of five: "
        "as it is, and moved up, down, left and right by this many pixels; 0: as it is alone",
    )

    def of_bank(self) -> Augment:
        """Return what a bank's variants depend on: a fit's own settings are at their defaults."""
        fields = type(self).model_fields
        return self.model_copy(update={name: fields[name].default for name in self.of_fits})

    def canonical(self) -> Augment:
        """Return settings that give the same images: a change that never happens is at defaults."""
        changes: dict[str, Any] = {}
        if self.variants == 1:
            changes["variant_order"] = Augment.model_fields["variant_order"].default
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
        sections = {name: getattr(self, name).canonical() for name in type(self).model_fields}
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
        if self.folds.times_held_out == 1 and self.tune.holdout_folds >= self.folds.count:
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
    def _has_rows_to_pick_on(self) -> Config:
        for name in self.members if self.folds.kind == "none" else ():
            train = self.member(name).train
            if train.picks_on_heldout:
                key = "schedule" if train.schedule == "plateau" else "early_stopping.patience"
                raise ValueError(
                    f"folds.kind: none holds no rows out, but train.{key} of member {name} looks "
                    "at such rows; take another kind, or train for a fixed number of epochs"
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

    @property
    def picks_on_heldout(self) -> bool:
        """Whether the training of any member looks at the rows that it holds out."""
        return any(self.member(name).train.picks_on_heldout for name in self.members)

    @property
    def precisions(self) -> dict[str, Precision]:
        """What each member is trained in, by its name; perhaps `auto` still."""
        return {name: self.member(name).train.precision for name in self.members}

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy as pydantic does; the copy resolves its members itself."""
        copy = super().model_copy(update=update, deep=deep)
        copy.__dict__.pop("_resolved", None)
        return copy

    def canonical(self) -> Config:
        """Return settings that give the same run, its split in its canonical form."""
        return self.model_copy(update={"folds": self.folds.canonical()})

    def identity(self) -> dict[str, Any]:
        """Return what results depend on; where the data is and callbacks are no part of it."""
        values = super().identity()
        return {key: value for key, value in values.items() if key not in ("data", "callbacks")}
