"""What a run was joined from (in its manifest), and what each way to join would have given."""

from __future__ import annotations

from dataclasses import dataclass

from kaggle_digits.errors import UserError
from kaggle_digits.scoring.ensemble import Score
from kaggle_digits.storage.run_folder import RunFolder

GREEDY = "greedy"  # the method that selects members by the labels of the training rows


@dataclass(frozen=True)
class Source:
    """A run whose fits another run has copied.

    Attributes:
        name: of its folder.
        predictions: checksum of its `predictions.npz`.
        members: what its members are called here -> there.
    """

    name: str
    predictions: str
    members: dict[str, str]


@dataclass(frozen=True)
class Joined:
    """What a run was joined from.

    Attributes:
        method: how, in the words of `kaggle-digits ensemble`.
        sources: the runs, in the order in which they were given.
        not_taken_over: how these average their own members otherwise, a clause each.
    """

    method: str
    sources: tuple[Source, ...]
    not_taken_over: tuple[str, ...] = ()


def refuse_joined(folder: RunFolder) -> None:
    """Refuse a run that was joined from others where one that trains its nets is needed.

    Raises:
        UserError: it is one; names the others.
    """
    if names := folder.joined_from():
        raise UserError(
            f"{folder.folder}: expected a run that trains its own nets, found one that was joined "
            f"from {', '.join(names)}; do this with those, and join them again"
        )


@dataclass(frozen=True)
class MethodScore:
    """The out-of-fold score of one way to combine members, beside their plain mean.

    Attributes:
        name: of the method, or of a source that stands alone.
        score: on the rows that all members predict.
        only_mean_wrong: rows that only the plain mean predicts wrongly.
        only_this_wrong: rows that only this one predicts wrongly.
        p_value: of McNemar's exact test between the two.
    """

    name: str
    score: Score
    only_mean_wrong: int
    only_this_wrong: int
    p_value: float


@dataclass(frozen=True)
class MemberWeight:
    """How much one member counts.

    Attributes:
        member: what it is called in the joined run.
        source: name of the run that trained it.
        equal: its weight where all count the same, 0..1.
        greedy: its weight by greedy selection on all rows, 0..1; None where that is not known.
        least: the smallest that it gets where one fold is left out, 0..1; None as before.
        most: the largest.
    """

    member: str
    source: str
    equal: float
    greedy: float | None = None
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True)
class BlendRecord:
    """What joining runs has given and would give.

    Attributes:
        method: that was chosen.
        methods: the score of each.
        sources: the score of each source alone, by its own method and weights.
        weights: of each member.
    """

    method: str
    methods: tuple[MethodScore, ...]
    sources: tuple[MethodScore, ...]
    weights: tuple[MemberWeight, ...]
