"""Every setting of a run as frozen pydantic models: loads YAML, applies overrides, saves.

First stage of the pipeline: all other modules take these models and never read YAML themselves.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kaggle_digits.errors import UserError

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
    affine_p: Probability = Field(1.0, description="share of images that are moved like this")
    elastic: Elastic = Elastic()
    grid: Grid = Grid()

    def canonical(self) -> Augment:
        """Return settings of the same images: a change that never happens has its defaults."""
        changes: dict[str, Any] = {}
        if self.elastic.p == 0:
            changes["elastic"] = Elastic(p=0)
        if self.grid.p == 0:
            changes["grid"] = Grid(p=0)
        if self.affine_p == 0:
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


MEMBER_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,39}")


class Config(Section):
    """All settings of a run; the defaults are those of the shipped config `quick`."""

    seed: int = Field(2026, ge=0, lt=2**31, description="start of every random number")
    data: Data = Data()
    folds: Folds = Folds()
    augment: Augment = Augment()
    model: Model = Model()
    train: Train = Train()
    members: dict[str, Member] = Field(
        {"cnn": Member()}, min_length=1, description="nets of the ensemble by name"
    )
    ensemble: Ensemble = Ensemble()

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
                    f"the number is one for a whole process; found {threads}"
                )
        return self

    def member(self, name: str) -> MemberSettings:
        """Resolve a member: the common sections with the member's changes over them.

        Args:
            name: a key of `members`.

        Returns:
            The settings that every fit of the member uses.

        Raises:
            UserError: a change has an unknown key or a value that does not fit.
        """
        changes = self.members[name]
        merged = {
            section: _merge(getattr(self, section).model_dump(), getattr(changes, section))
            for section in ("model", "train", "augment")
        }
        return _validate(MemberSettings, merged, f"members.{name}.")


def _merge(base: dict, changes: dict) -> dict:
    """Lay changes over a base, section by section.

    A number as key means a place in a list, and null over a section or member takes it away.
    """
    merged = dict(base)
    for key, value in changes.items():
        below = merged.get(key)
        if value is None and isinstance(below, dict):
            del merged[key]
            continue
        if isinstance(value, dict) and isinstance(below, list | tuple):
            places = {str(place): item for place, item in enumerate(below)}
            if places.keys() >= value.keys():
                value = list(_merge(places, value).values())
        elif isinstance(value, dict) and isinstance(below, dict):
            value = _merge(below, value)
        merged[key] = value
    return merged


def _validate(model: type[Section], values: dict, where: str) -> Any:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = (where + ".".join(str(part) for part in first["loc"])).rstrip(".")
        if first["type"] == "extra_forbidden":
            problem = f"unknown key, expected one of {_known_keys(model, first['loc'])}"
        else:
            problem = first["msg"].removeprefix("Value error, ")
            if not isinstance(first["input"], dict | Section):
                problem += f", found {first['input']!r:.80}"
        problem = f"{key}: {problem}" if key else problem
        raise UserError(
            f"{problem} (kaggle-digits run --help explains --config and --set)"
        ) from None


def _known_keys(model: type[Section], location: tuple) -> str:
    """List the keys that may stand where an unknown one was found."""
    node: Any = model
    for part in location[:-1]:
        if isinstance(node, type) and issubclass(node, Section):
            node = node.model_fields[part].annotation
        else:  # tuple[Stage, ...] or dict[str, Member]: the part is a place or a name
            node = next(item for item in reversed(get_args(node)) if item is not ...)
    return ", ".join(node.model_fields)


def shipped_folder() -> Path:
    """Find the folder of the shipped configs: the checkout's, else the installed wheel's."""
    checkout = Path(__file__).resolve().parent.parent / "configs"
    if (checkout / "quick.yaml").is_file():
        return checkout
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files("kaggle-digits") or ():
            if file.match("configs/quick.yaml"):
                return Path(str(file.locate())).resolve().parent
    raise UserError("the shipped configs are missing: install kaggle-digits again")


def load(name: str, overrides: list[str] | tuple[str, ...] = ()) -> Config:
    """Read a config and apply overrides.

    Args:
        name: a shipped config's name, or a path (it has a separator or ends in .yaml).
        overrides: `section.key=value` with a YAML value, applied in order.

    Returns:
        The config.

    Raises:
        UserError: the file is missing or no YAML, or a key or value does not fit; names it.
    """
    is_path = "/" in name or "\\" in name or name.endswith((".yaml", ".yml"))
    path = Path(name) if is_path else shipped_folder() / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in shipped_folder().glob("*.yaml")))
        raise UserError(f"{name}: no such config; give a path to a YAML file or one of {known}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or no such date
        raise UserError(f"{path}: not a YAML file: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected sections (seed, train, ...), found {values!r}")
    for override in overrides:
        values = _merge(values, _parse_override(override))
    return from_values(values)


def from_values(values: dict) -> Config:
    """Make a config of plain values.

    Raises:
        UserError: a key or value does not fit; names it.
    """
    return _validate(Config, values, "")


def _parse_override(override: str) -> dict:
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise UserError(f"--set {override}: expected KEY=VALUE, for example train.epochs=5")
    try:
        value: Any = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        raise UserError(f"--set {override}: {text!r} is not a YAML value") from None
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)  # YAML 1.1 reads 1e-3 as text
    for part in reversed(key.strip().split(".")):
        value = {part: value}
    return value


def dump(config: Section) -> str:
    """Write a config as YAML that `load` reads back to an equal one."""
    return yaml.safe_dump(json.loads(config.model_dump_json()), sort_keys=False)
