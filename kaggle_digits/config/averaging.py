"""The `ensemble` section of a config: how predictions are averaged."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kaggle_digits.config.problems import Expected
from kaggle_digits.config.section import Section

Weight = Annotated[float, Field(gt=0)]


class Ensemble(Section):
    """How the fits' probabilities become one prediction."""

    later: ClassVar[frozenset[str]] = frozenset(("weights",))

    method: Literal["arithmetic", "geometric", "vote"] = Field(
        "arithmetic", description="mean of probabilities, of their logarithms, or majority"
    )
    weights: Annotated[
        dict[str, Weight], Expected("members with numbers above 0, for example {cnn: 2}")
    ] = Field({}, description="how much a member counts beside the others; 1 unless given here")
