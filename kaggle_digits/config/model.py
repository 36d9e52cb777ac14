"""The `model` section of a config: the layers of a net."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from kaggle_digits.config.problems import Expected
from kaggle_digits.config.section import Section

Width = Annotated[int, Field(ge=1, le=8192)]
SIDE = 28  # of an image, pixels


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
