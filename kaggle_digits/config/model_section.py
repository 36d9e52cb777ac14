"""The `model` section of a config: the layers of a net."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from kaggle_digits.config.problems import Expected
from kaggle_digits.config.section import Section

Width = Annotated[int, Field(ge=1, le=8192)]
Dropped = Annotated[float, Field(ge=0, lt=1)]
SIDE = 28  # of an image, pixels


class Stage(Section):
    """Convolutions of one width, each with its batch norm, ReLU and perhaps pooling."""

    expected: ClassVar[str] = "a stage, for example {width: 24, pool: first}"
    later: ClassVar[frozenset[str]] = frozenset(("dropout", "residual", "squeeze"))

    width: int = Field(ge=1, le=2048, description="channels")
    depth: int = Field(1, ge=1, le=50, description="number of convolutions")
    kernel: int = Field(3, ge=1, le=28, description="side of the kernel, pixels")
    pool: Literal["none", "first", "last"] = Field(
        "none", description="which convolution of the stage has 2x2 max pooling, if any"
    )
    padding: Literal["same", "valid"] = Field("same", description="keep the size, or shrink")
    stride: Literal[1, 2] = Field(1, description="step of the stage's first convolution, pixels")
    dropout: Dropped = Field(0.0, description="fraction dropped at the end of the stage")
    residual: bool = Field(
        False,
        description="the convolutions from the second on are one residual block: what comes in is "
        "added to what comes out, before its last ReLU",
    )
    squeeze: int = Field(
        0,
        ge=0,
        le=2048,
        description="ratio of a squeeze-and-excitation at the end of the stage; 0: none",
    )

    def canonical(self) -> Stage:
        """Return settings of the same layers: a single convolution has none to bypass."""
        return self if self.depth > 1 else self.model_copy(update={"residual": False})

    @model_validator(mode="after")
    def _adds_maps_of_one_size(self) -> Stage:
        if self.residual and self.depth > 1 and self.padding != "same":
            raise ValueError(
                "residual: expected false with padding valid, which shrinks what would be added; "
                "found true, use padding: same"
            )
        return self


class Model(Section):
    """A CNN: stages one after the other, then pooling and dense layers."""

    former_defaults: ClassVar[Mapping[str, Any]] = {
        "stages": (
            Stage(width=24, pool="first"),
            Stage(width=48, depth=2, pool="last"),
            Stage(width=96, depth=2, pool="last"),
        )
    }
    later: ClassVar[frozenset[str]] = frozenset(
        (
            "input",
            "deslant",
            "dropout_place",
            "norm",
            "norm_momentum",
            "norm_epsilon",
            "logits_norm",
            "pool_place",
            "initializer",
            "bias",
            "l2",
        )
    )

    input: Literal["unit", "symmetric"] = Field(
        "unit", description="what pixels are scaled to: 0..1, or -1..1"
    )
    deslant: bool = Field(False, description="whether the net sets digits upright first")
    stages: Annotated[
        tuple[Stage, ...], Expected("a list of stages, for example [{width: 24, pool: first}]")
    ] = Field(
        (
            Stage(width=32, kernel=5, stride=2, padding="valid"),
            Stage(width=64, kernel=5, padding="valid"),
            Stage(width=96, kernel=5, padding="valid"),
            Stage(width=160, kernel=4, padding="valid"),
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
    dropout: Dropped = Field(0.3, description="fraction dropped before or after a dense layer")
    dropout_place: Literal["before", "after"] = Field(
        "before",
        description="before: of every dense layer, the last one too; after: of every hidden one, "
        "behind its ReLU and batch norm",
    )
    norm: Literal["before", "after", "none"] = Field(
        "before", description="batch norm of convolutions and hidden layers: before or after ReLU"
    )
    norm_momentum: float = Field(
        0.9, ge=0, lt=1, description="of batch norm's moving averages, a step"
    )
    norm_epsilon: float = Field(1e-5, gt=0, description="added to batch norm's variances")
    logits_norm: bool = Field(
        False, description="batch norm on the ten logits, whose dense layer then has no bias"
    )
    pool_place: Literal["early", "late"] = Field(
        "early",
        description="early: pooling right after its convolution, which is faster; late: after its "
        "ReLU and batch norm",
    )
    initializer: Literal["he_normal", "he_uniform", "glorot_uniform"] = Field(
        "he_normal", description="first weights of convolutions and hidden layers"
    )
    bias: bool = Field(False, description="whether convolutions and hidden layers have biases")
    l2: float = Field(
        0.0,
        ge=0,
        description="factor of the convolutions' squared weights in the loss",
    )

    def canonical(self) -> Model:
        """Return settings of the same net: what has no effect is at its default."""
        unused = []
        if self.norm == "none" and not self.logits_norm:
            unused += ["norm_momentum", "norm_epsilon"]
        if all(stage.pool == "none" for stage in self.stages):
            unused.append("pool_place")
        if self.dropout_place == "after" and not self.dense:
            unused.append("dropout")
        changes = {key: Model.model_fields[key].default for key in unused}
        stages = tuple(stage.canonical() for stage in self.stages)
        return self.model_copy(update=changes | {"stages": stages})

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
