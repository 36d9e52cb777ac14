"""The `folds` section of a config: how training rows are held out, and by how many fits."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from kaggle_digits.config.section import Section


class Folds(Section):
    """How the training rows are split for out-of-fold predictions."""

    later: ClassVar[frozenset[str]] = frozenset(("kind", "repeats", "holdout"))

    count: int = Field(
        3, ge=1, le=50, description="folds, at least 2; with kind holdout: nets of each member"
    )
    kind: Literal["stratified", "kfold", "holdout", "none"] = Field(
        "stratified",
        description="stratified: folds with all classes alike; kfold: plain shuffled folds; "
        "holdout: a random split for each net; none: one net of each member, on all rows",
    )
    repeats: int = Field(
        1, ge=1, le=20, description="of stratified and kfold: times that other folds are made"
    )
    holdout: float = Field(
        0.1, gt=0, lt=1, description="of kind holdout: fraction of the rows that a net holds out"
    )

    def canonical(self) -> Folds:
        """Return settings that give the same split: without folds their number has no effect."""
        if self.kind != "none":
            return self
        return self.model_copy(update={"count": Folds.model_fields["count"].default})

    @property
    def is_usual(self) -> bool:
        """Whether each row is held out once, by folds with all classes alike."""
        return self.kind == "stratified" and self.repeats == 1

    @property
    def fits(self) -> int:
        """Number of fits of each member."""
        return 1 if self.kind == "none" else self.count * self.repeats

    @property
    def times_held_out(self) -> int | None:
        """How many fits of each member hold a row out; None where chance decides it."""
        return {"holdout": None, "none": 0}.get(self.kind, self.repeats)

    @property
    def heldout_fraction(self) -> float:
        """Fraction of the rows that one fit holds out."""
        return {"holdout": self.holdout, "none": 0.0}.get(self.kind, 1 / self.count)

    @property
    def description(self) -> str:
        """How the rows are split, for people."""
        if self.kind == "none":
            return "no rows held out, each net is trained on all of them"
        if self.kind == "holdout":
            splits = (
                "1 random split holds" if self.count == 1 else f"{self.count} random splits hold"
            )
            each = "" if self.count == 1 else " each"
            return f"{splits} out {100 * self.holdout:g} % of the rows{each}"
        kind = "stratified" if self.kind == "stratified" else "plain shuffled"
        again = "" if self.repeats == 1 else f", made {self.repeats} times with other seeds"
        return f"{self.count} {kind} folds{again}"

    @property
    def rows_per_class(self) -> int:
        """Number of rows that every class needs, so that it can be split and trained on."""
        return {"stratified": self.count, "none": 1}.get(self.kind, 2)

    @model_validator(mode="after")
    def _fit_the_kind(self) -> Folds:
        is_k_fold = self.kind in ("stratified", "kfold")
        if is_k_fold and self.count < 2:
            raise ValueError(
                f"count: expected at least 2 with kind {self.kind} (a single split is kind "
                f"holdout), found {self.count}"
            )
        if not is_k_fold and self.repeats > 1:
            more = "folds.count" if self.kind == "holdout" else "members"
            raise ValueError(
                f"repeats: expected 1 with kind {self.kind} (for more nets take more {more}), "
                f"found {self.repeats}"
            )
        if self.kind != "holdout" and self.holdout != Folds.model_fields["holdout"].default:
            raise ValueError(
                f"holdout: has no effect with kind {self.kind}, leave it out or set folds.kind to "
                f"holdout; found {self.holdout:g}"
            )
        return self
