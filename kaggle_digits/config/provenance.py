"""The `tuned` section of a config: by which rows a search chose its settings."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from kaggle_digits.config.section import Section


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
