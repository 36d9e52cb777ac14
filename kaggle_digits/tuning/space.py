"""A config's `tune.space` -> a checked search space, and KerasTuner's values -> config settings.

Whatever is wrong with a space is found here, before anything is trained.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from random import Random
from typing import TYPE_CHECKING, Any

from kaggle_digits.config import loading
from kaggle_digits.config.schema import AUTO, Config, SearchParameter
from kaggle_digits.errors import UserError

if TYPE_CHECKING:
    import keras_tuner

# They define how trials are evaluated, or hold for the whole process, so no trial may change them.
SHARED = ("tune", "tuned", "data", "folds", "callbacks", "train.threads")
# Significant digits of a searched float: more would be noise, and hard to read.
DIGITS = 4
# Position of a sample within a range; a setting that takes only integers refuses it.
INNER_SAMPLE = 0.382
RANDOM_CHECKS = 200  # draws of all settings together, to find out whether they fit


@dataclass(frozen=True)
class Space:
    """What a search chooses from.

    Attributes:
        parameters: config key -> what it may become; whatever a `when` names comes before it.
        start: config key -> its value in the config that the search begins with.
    """

    parameters: dict[str, SearchParameter]
    start: dict[str, Any]

    def hyperparameters(self) -> keras_tuner.HyperParameters:
        """Return the space as KerasTuner takes it; the start's values are defaults if possible."""
        import keras_tuner

        space = keras_tuner.HyperParameters()
        for key, parameter in self.parameters.items():
            kind, arguments = _keras_tuner_arguments(parameter, self.start[key])
            # Not KerasTuner's scopes: one within another would depend on both.
            conditions = [
                {"class_name": "Parent", "config": {"name": other, "values": values}}
                for other, values in self._conditions(parameter)
            ]
            declare = getattr(keras_tuner.engine.hyperparameters, kind)
            space.merge([declare.from_config({"name": key, "conditions": conditions, **arguments})])
        return space

    def decode(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Turn a trial's values into config settings.

        Args:
            values: KerasTuner's, of the settings in force; its own (`tuner/...`) are ignored.

        Returns:
            Config key -> value.
        """
        return {
            # The start's value stays as it is, however many digits it has.
            key: self.start[key]
            if values[key] == self.start[key]
            else _decoded(parameter, values[key])
            for key, parameter in self.parameters.items()
            if key in values
        }

    def _conditions(self, parameter: SearchParameter) -> Iterator[tuple[str, list]]:
        """Yield (key, its values as KerasTuner knows them) of all that a parameter depends on."""
        for key, values in _as_lists(parameter.when).items():
            yield key, [_encoded(self.parameters[key], value) for value in values]


def _keras_tuner_arguments(parameter: SearchParameter, start: Any) -> tuple[str, dict[str, Any]]:
    """Return KerasTuner's class of a hyperparameter, and its arguments."""
    if parameter.choices is not None:
        values = [_encoded(parameter, choice) for choice in parameter.choices]
        of_start = [
            value
            for value, choice in zip(values, parameter.choices, strict=True)
            if _is_among(start, [choice])
        ]
        return "Choice", {
            "values": values,
            "ordered": _are_numbers(parameter.choices),
            "default": (of_start or values)[0],
        }
    integers, step = _is_of_integers(parameter), _step(parameter)
    default, high = parameter.low, parameter.high
    if isinstance(start, int | float) and parameter.low <= start <= parameter.high:
        default = start if not integers else int(start) if start == int(start) else parameter.low
    if step is not None and not integers:
        # KerasTuner divides floats without rounding, and would lose the last value.
        high = parameter.low + (_count(parameter) - 0.5) * step
        nearest = parameter.low + round((default - parameter.low) / step) * step
        default = nearest if math.isclose(nearest, default, abs_tol=1e-9 * step) else default
    return "Int" if integers else "Float", {
        "min_value": parameter.low,
        "max_value": high,
        "step": step,
        "sampling": parameter.sampling,
        "default": default,
    }


def from_config(config: Config) -> Space:
    """Check a config's search space.

    Args:
        config: the config that the search begins with.

    Returns:
        The space.

    Raises:
        UserError: it is empty, has an unknown key, an empty range, a value that does not fit, or
            conditions that contradict each other; names the key.
    """
    given = config.tune.space
    if not given:
        raise UserError(
            "tune.space: expected settings to search, found none; for example --set "
            "'tune.space={train.learning_rate: {low: 0.002, high: 0.02, sampling: log}}'"
        )
    for key, parameter in given.items():
        _check_key(key, config)
        _check_values(key, parameter)
    for key in given:
        _check_conditions(key, given)
    ordered = _ordered(given)
    for key in ordered:
        _allowed_values(ordered, {key: None})
    space = Space(ordered, {key: loading.setting(config, key) for key in ordered})
    _check_fits(config, space)
    return Space(_as_in_config(config, space), space.start)


def _as_in_config(config: Config, space: Space) -> dict[str, SearchParameter]:
    """Write choices as the config has them: 0 for a float is 0.0, a stage has all its keys."""
    choices: dict[str, tuple] = {}
    for key, parameter in space.parameters.items():
        if parameter.choices is not None:
            choices[key] = tuple(
                loading.setting(loading.changed(config, _with_conditions(space, {key: value})), key)
                for value in parameter.choices
            )
            if len({_as_text(choice) for choice in choices[key]}) < len(choices[key]):
                raise UserError(
                    f"tune.space.{key}.choices: expected each value once, found one twice"
                )
    written = {}
    for key, parameter in space.parameters.items():
        when = {
            other: [
                choices[other][place]
                for place, choice in enumerate(space.parameters[other].choices)
                if _is_among(choice, values)
            ]
            for other, values in _as_lists(parameter.when).items()
        }
        written[key] = parameter.model_copy(update={"choices": choices.get(key), "when": when})
    return written


def _check_key(key: str, config: Config) -> None:
    first, _, rest = key.partition(".")
    member, _, of_member = rest.partition(".")
    own = of_member if first == "members" else key  # as it is called outside of members
    expected = f"tune.space.{key}: expected a setting that a trial may change"
    if any(own == shared or own.startswith(f"{shared}.") for shared in SHARED):
        raise UserError(f"{expected}, found one that all trials share; leave it out of the search")
    if any(shared.startswith(f"{own}.") for shared in SHARED):
        raise UserError(
            f"{expected}, found one with others in it that all trials share; search its single "
            "settings"
        )
    if first == "members" and rest and member not in config.members:
        raise UserError(
            f"tune.space.{key}: expected a member, one of {', '.join(config.members)}, found "
            f"{member!r}"
        )


def _check_values(key: str, parameter: SearchParameter) -> None:
    place = f"tune.space.{key}"
    low, high, step = parameter.low, parameter.high, parameter.step
    if parameter.choices is not None:
        given = [name for name in ("low", "high", "step") if getattr(parameter, name) is not None]
        given += ["sampling"] if parameter.sampling != "linear" else []
        if given:
            raise UserError(f"{place}: expected choices or a range, found choices and {given[0]}")
        if len(parameter.choices) < 2:
            raise UserError(
                f"{place}.choices: expected two or more values, found {len(parameter.choices)}"
            )
        if key.endswith("train.precision") and AUTO in parameter.choices:
            raise UserError(f"{place}.choices: expected float32, bfloat16 or float16, found auto")
        return
    if low is None or high is None:
        missing = "low" if low is None else "high"
        raise UserError(f"{place}: expected choices, or low and high, found no {missing}")
    if low >= high:
        raise UserError(f"{place}: expected low below high, found the empty range {low} to {high}")
    if parameter.sampling == "log" and low <= 0:
        raise UserError(f"{place}.low: expected a value above 0 for log, found {low}")
    if step is None:
        return
    if parameter.sampling == "log":
        raise UserError(f"{place}.step: expected none with sampling: log, found {step}")
    if _count(parameter) < 2:
        raise UserError(f"{place}.step: expected at most high - low ({high - low}), found {step}")
    if isinstance(step, float) and _is_of_integers(parameter):
        raise UserError(f"{place}.step: expected an integer between integers, found {step}")


def _check_conditions(key: str, parameters: Mapping[str, SearchParameter]) -> None:
    for other, values in _as_lists(parameters[key].when).items():
        place = f"tune.space.{key}.when.{other}"
        if other == key or other not in parameters:
            raise UserError(f"{place}: expected another searched setting, found {other!r}")
        if not values:
            raise UserError(f"{place}: expected a value or a list of values, found none")
        choices = parameters[other].choices
        if choices is None:
            raise UserError(f"{place}: expected a setting with choices, found a range")
        for value in values:
            if not _is_among(value, choices):
                raise UserError(f"{place}: expected one of {list(choices)}, found {value!r}")


def _ordered(parameters: Mapping[str, SearchParameter]) -> dict[str, SearchParameter]:
    """Put every parameter behind those that it depends on."""
    ordered: dict[str, SearchParameter] = {}
    while len(ordered) < len(parameters):
        ready = [
            key
            for key in parameters
            if key not in ordered
            and parameters[key].when.keys() <= ordered.keys()
            # The width of a stage is set after the choice of the stages.
            and not any(key.startswith(f"{above}.") for above in parameters.keys() - ordered.keys())
        ]
        if not ready:
            cycle = next(key for key in parameters if key not in ordered)
            raise UserError(
                f"tune.space.{cycle}.when: expected conditions without a circle, found one that "
                "leads back to itself"
            )
        ordered |= {key: parameters[key] for key in ready}
    return ordered


def _allowed_values(
    parameters: Mapping[str, SearchParameter], settings: Mapping[str, Any]
) -> dict[str, list]:
    """List the values with which settings are in force, of themselves and all they depend on.

    Raises:
        UserError: they contradict each other; names the last of the settings.
    """
    allowed = {key: [value] for key, value in settings.items()}
    waiting = list(settings)
    while waiting:
        for other, values in _as_lists(parameters[waiting.pop()].when).items():
            before = allowed.get(other, values)
            allowed[other] = [value for value in before if _is_among(value, values)]
            if not allowed[other]:
                raise UserError(
                    f"tune.space.{next(reversed(settings))}.when: contradicting conditions, "
                    f"{other} would have to be {before[0]!r} and {values[0]!r} at once"
                )
            waiting.append(other)
    return allowed


def _check_fits(config: Config, space: Space) -> None:
    """Try samples of each setting, of each two, and random draws of all."""
    samples = {key: list(_samples(parameter)) for key, parameter in space.parameters.items()}
    for key, values in samples.items():
        for value in values:
            _check_settings(config, space, {key: value})
    for one, other in combinations(samples, 2):
        for first in samples[one]:
            for second in samples[other]:
                _check_settings(config, space, {one: first, other: second})
    random = Random(0)
    for _ in range(RANDOM_CHECKS):
        _check_settings(config, space, _draw(space, samples, random))


def _check_settings(config: Config, space: Space, settings: dict[str, Any]) -> None:
    whole = _with_conditions(space, settings)
    if whole is None:
        return  # they are never in force together
    key = next(reversed(settings))
    try:
        tried = loading.changed(config, whole)
    except UserError as error:
        given = ", ".join(f"{name}={_as_text(value)}" for name, value in whole.items())
        problem = f"tune.space.{key}: does not fit with {given}: {error.problem}"
        raise UserError(problem) from None
    if tried.picks_on_heldout:
        raise UserError(
            f"tune.space.{key}: training would look at the rows that trials are compared on; "
            "leave early stopping and the schedule plateau out of a search"
        )


def _with_conditions(space: Space, settings: dict[str, Any]) -> dict[str, Any] | None:
    """Add to settings what they depend on; None if they cannot be in force together."""
    try:
        allowed = _allowed_values(space.parameters, settings)
    except UserError:
        return None
    return {key: allowed[key][0] for key in space.parameters if key in allowed}


def _draw(space: Space, samples: Mapping[str, list], random: Random) -> dict[str, Any]:
    """Draw all settings that are in force."""
    settings: dict[str, Any] = {}
    for key, values in samples.items():
        when = _as_lists(space.parameters[key].when)
        if all(other in settings and _is_among(settings[other], when[other]) for other in when):
            settings[key] = random.choice(values)
    return settings


def _samples(parameter: SearchParameter) -> Iterator[Any]:
    """Yield all choices, or the ends of a range and a value within."""
    if parameter.choices is not None:
        yield from parameter.choices
    else:
        yield from (parameter.low, parameter.high)
        if not _is_of_integers(parameter):
            yield parameter.low + INNER_SAMPLE * (parameter.high - parameter.low)


def _as_lists(when: Mapping[str, Any]) -> dict[str, list]:
    return {
        key: list(value) if isinstance(value, list | tuple) else [value]
        for key, value in when.items()
    }


def _is_of_integers(parameter: SearchParameter) -> bool:
    return isinstance(parameter.low, int) and isinstance(parameter.high, int)


def _as_text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _is_among(value: Any, values: Any) -> bool:
    # In YAML 1 and 1.0 are one value, but 1 and true are not.
    return any(
        value == other and isinstance(value, bool) == isinstance(other, bool) for other in values
    )


def _are_numbers(choices: tuple[Any, ...]) -> bool:
    return all(isinstance(each, int | float) and not isinstance(each, bool) for each in choices)


def _encoded(parameter: SearchParameter, choice: Any) -> int | float | str:
    """Turn a choice into what KerasTuner takes: numbers of one type, or texts."""
    if not _are_numbers(parameter.choices):
        return _as_text(choice)
    return choice if all(isinstance(each, int) for each in parameter.choices) else float(choice)


def _decoded(parameter: SearchParameter, value: Any) -> Any:
    if parameter.choices is not None:
        return next(each for each in parameter.choices if _encoded(parameter, each) == value)
    if _is_of_integers(parameter):
        return int(value)
    rounded = float(f"{value:.{DIGITS}g}")
    return min(max(rounded, parameter.low), parameter.high)


def _step(parameter: SearchParameter) -> int | float | None:
    if parameter.step is None and _is_of_integers(parameter) and parameter.sampling == "linear":
        return 1
    return parameter.step


def _count(parameter: SearchParameter) -> int:
    """Count the values of a range with steps."""
    # 0.3 / 0.1 is a little less than 3.
    return int((parameter.high - parameter.low) / _step(parameter) + 1e-9) + 1
