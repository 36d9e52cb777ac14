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
from kaggle_digits.config.loading import Config
from kaggle_digits.config.schema import SearchParameter
from kaggle_digits.errors import UserError

if TYPE_CHECKING:
    import keras_tuner

# They say how trials are judged, or hold for the whole process: no trial may have its own.
FIXED = ("tune", "tuned", "data", "folds", "train.threads")
DIGITS = 4  # significant ones of a searched float: more would be noise, and hard to read
# A point within a range: one that is no integer shows that a setting takes integers only.
WITHIN = 0.382
DRAWS = 200  # of all settings together, to find out whether they fit


@dataclass(frozen=True)
class Space:
    """What a search chooses from.

    Attributes:
        settings: config key -> what it may become; whatever a `when` names stands before it.
        start: config key -> its value in the config that the search begins with.
    """

    settings: dict[str, SearchParameter]
    start: dict[str, Any]

    def hyperparameters(self) -> keras_tuner.HyperParameters:
        """Declare the space to KerasTuner; the start's values are defaults if they are in it."""
        import keras_tuner

        space = keras_tuner.HyperParameters()
        for key, setting in self.settings.items():
            kind, values = _declaration(setting, self.start[key])
            # Not in scopes: one cannot stand within another that it does not depend on.
            conditions = [
                {"class_name": "Parent", "config": {"name": other, "values": wanted}}
                for other, wanted in self._conditions(setting)
            ]
            declare = getattr(keras_tuner.engine.hyperparameters, kind)
            space.merge([declare.from_config({"name": key, "conditions": conditions, **values})])
        return space

    def decode(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Turn a trial's values into config settings.

        Args:
            values: KerasTuner's, of the settings in force; its own (`tuner/...`) are left out.

        Returns:
            Config key -> value.
        """
        return {
            # The start stays as it is, however many digits it has.
            key: start if values[key] == start else _decoded(setting, values[key])
            for (key, setting), start in zip(
                self.settings.items(), self.start.values(), strict=True
            )
            if key in values
        }

    def _conditions(self, setting: SearchParameter) -> Iterator[tuple[str, list]]:
        """Yield (key, its values as KerasTuner knows them) of all that a setting depends on."""
        for key, wanted in _required(setting.when).items():
            yield key, [_encoded(self.settings[key], value) for value in wanted]


def _declaration(setting: SearchParameter, start: Any) -> tuple[str, dict[str, Any]]:
    """Return KerasTuner's class of a hyperparameter, and its arguments."""
    if setting.choices is not None:
        values = [_encoded(setting, choice) for choice in setting.choices]
        own = [
            value
            for value, choice in zip(values, setting.choices, strict=True)
            if _is_among(start, [choice])
        ]
        return "Choice", {
            "values": values,
            "ordered": _is_of_numbers(setting.choices),
            "default": (own or values)[0],
        }
    whole, step = _is_of_integers(setting), _step(setting)
    default, high = setting.low, setting.high
    if isinstance(start, int | float) and setting.low <= start <= setting.high:
        default = start if not whole else int(start) if start == int(start) else setting.low
    if step is not None and not whole:
        # KerasTuner divides floats without rounding, and would lose the last value.
        high = setting.low + (_count(setting) - 0.5) * step
        nearest = setting.low + round((default - setting.low) / step) * step
        default = nearest if math.isclose(nearest, default, abs_tol=1e-9 * step) else default
    return "Int" if whole else "Float", {
        "min_value": setting.low,
        "max_value": high,
        "step": step,
        "sampling": setting.sampling,
        "default": default,
    }


def declared(config: Config) -> Space:
    """Check a config's search space.

    Args:
        config: the config that the search begins with.

    Returns:
        The space.

    Raises:
        UserError: it is empty, has an unknown key, an empty range, a value that does not fit, or
            conditions that contradict; names the key.
    """
    found = config.tune.space
    if not found:
        raise UserError(
            "tune.space: expected settings to search, found none; for example --set "
            "'tune.space={train.learning_rate: {low: 0.002, high: 0.02, sampling: log}}'"
        )
    for key, setting in found.items():
        if any(key == fixed or key.startswith(f"{fixed}.") for fixed in FIXED):
            raise UserError(
                f"tune.space.{key}: expected a setting that a trial may change, found one that "
                "all trials share; leave it out of the search"
            )
        if any(fixed.startswith(f"{key}.") for fixed in FIXED):
            raise UserError(
                f"tune.space.{key}: expected a setting that a trial may change, found one with "
                "others in it that all trials share; search its single settings"
            )
        first, _, rest = key.partition(".")
        if first == "members" and rest and rest.split(".")[0] not in config.members:
            raise UserError(
                f"tune.space.{key}: expected a member, one of {', '.join(config.members)}, found "
                f"{rest.split('.')[0]!r}"
            )
        _check_values(key, setting)
    for key, setting in found.items():
        _check_conditions(key, setting, found)
    ordered = _ordered(found)
    for key in ordered:
        _check_can_be_in_force(key, ordered)
    start = {key: loading.setting(config, key) for key in ordered}
    _check_fits(config, Space(ordered, start))
    return Space(_as_in_config(config, Space(ordered, start)), start)


def _as_in_config(config: Config, space: Space) -> dict[str, SearchParameter]:
    """Write choices as the config holds them: 0 for a share is 0.0, a stage has all its keys."""
    choices: dict[str, tuple] = {}
    for key, setting in space.settings.items():
        if setting.choices is not None:
            choices[key] = tuple(
                loading.setting(loading.changed(config, _with_conditions(space, {key: value})), key)
                for value in setting.choices
            )
            if len({_as_text(choice) for choice in choices[key]}) < len(choices[key]):
                raise UserError(
                    f"tune.space.{key}.choices: expected each value once, found one twice"
                )
    written = {}
    for key, setting in space.settings.items():
        when = {
            other: [
                choices[other][place]
                for place, choice in enumerate(space.settings[other].choices)
                if _is_among(choice, wanted)
            ]
            for other, wanted in _required(setting.when).items()
        }
        written[key] = setting.model_copy(update={"choices": choices.get(key), "when": when})
    return written


def _check_values(key: str, setting: SearchParameter) -> None:
    place = f"tune.space.{key}"
    if setting.choices is not None:
        given = [name for name in ("low", "high", "step") if getattr(setting, name) is not None] + (
            ["sampling"] if setting.sampling != "linear" else []
        )
        if given:
            raise UserError(f"{place}: expected choices or a range, found choices and {given[0]}")
        if len(setting.choices) < 2:
            raise UserError(
                f"{place}.choices: expected two or more values, found {len(setting.choices)}"
            )
        return
    if setting.low is None or setting.high is None:
        missing = "low" if setting.low is None else "high"
        raise UserError(f"{place}: expected choices, or low and high, found no {missing}")
    if setting.low >= setting.high:
        raise UserError(
            f"{place}: expected low below high, found the empty range {setting.low} to "
            f"{setting.high}"
        )
    if setting.sampling == "log" and setting.low <= 0:
        raise UserError(f"{place}.low: expected a value above 0 for log, found {setting.low}")
    if setting.step is not None:
        if setting.sampling == "log":
            raise UserError(f"{place}.step: expected none with sampling: log, found {setting.step}")
        if _count(setting) < 2:
            raise UserError(
                f"{place}.step: expected at most high - low ({setting.high - setting.low}), found "
                f"{setting.step}"
            )
        if isinstance(setting.step, float) and _is_of_integers(setting):
            raise UserError(
                f"{place}.step: expected an integer between integers, found {setting.step}"
            )


def _check_conditions(
    key: str, setting: SearchParameter, space: Mapping[str, SearchParameter]
) -> None:
    for other, wanted in _required(setting.when).items():
        place = f"tune.space.{key}.when.{other}"
        if other == key or other not in space:
            raise UserError(f"{place}: expected another searched setting, found {other!r}")
        if not wanted:
            raise UserError(f"{place}: expected a value or a list of values, found none")
        choices = space[other].choices
        if choices is None:
            raise UserError(f"{place}: expected a setting with choices, found a range")
        for value in wanted:
            if not _is_among(value, choices):
                raise UserError(f"{place}: expected one of {list(choices)}, found {value!r}")


def _ordered(space: Mapping[str, SearchParameter]) -> dict[str, SearchParameter]:
    """Put every setting behind those that it depends on."""
    ordered: dict[str, SearchParameter] = {}
    while len(ordered) < len(space):
        ready = [
            key
            for key in space
            if key not in ordered
            and space[key].when.keys() <= ordered.keys()
            # A stage's width has a say after the choice of the stages.
            and not any(key.startswith(f"{above}.") for above in space.keys() - ordered.keys())
        ]
        if not ready:
            cycle = next(key for key in space if key not in ordered)
            raise UserError(
                f"tune.space.{cycle}.when: expected conditions without a circle, found one that "
                "leads back to itself"
            )
        ordered |= {key: space[key] for key in ready}
    return ordered


def _check_can_be_in_force(key: str, space: Mapping[str, SearchParameter]) -> None:
    """Refuse conditions that, with those of the settings they name, can never all hold."""
    allowed: dict[str, list] = {}
    waiting = [key]
    while waiting:
        for other, wanted in _required(space[waiting.pop()].when).items():
            before = allowed.get(other, wanted)
            allowed[other] = [value for value in wanted if _is_among(value, before)]
            if not allowed[other]:
                raise UserError(
                    f"tune.space.{key}.when: contradicting conditions, {other} would have to be "
                    f"{before[0]!r} and {wanted[0]!r} at once"
                )
            waiting.append(other)


def _check_fits(config: Config, space: Space) -> None:
    """Try the ends and choices of each setting, of each two, and some draws of all."""
    tried = {key: list(_probes(setting)) for key, setting in space.settings.items()}
    for key, values in tried.items():
        for value in values:
            _check_settings(config, space, {key: value})
    for one, other in combinations(tried, 2):
        for first in tried[one]:
            for second in tried[other]:
                _check_settings(config, space, {one: first, other: second})
    random = Random(0)
    for _ in range(DRAWS):
        _check_settings(config, space, _drawn(space, tried, random))


def _check_settings(config: Config, space: Space, wanted: dict[str, Any]) -> None:
    settings = _with_conditions(space, wanted)
    if settings is None:
        return  # these never come together
    try:
        loading.changed(config, settings)
    except UserError as error:
        key = next(reversed(wanted))
        given = ", ".join(f"{name}={_as_text(value)}" for name, value in settings.items())
        reason = str(error).rpartition(" (kaggle-digits")[0]
        raise UserError(f"tune.space.{key}: does not fit with {given}: {reason}") from None


def _with_conditions(space: Space, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """Add to settings what they depend on; None if they cannot be in force together."""
    allowed = {key: [value] for key, value in wanted.items()}
    waiting = list(wanted)
    while waiting:
        for other, values in _required(space.settings[waiting.pop()].when).items():
            before = allowed.get(other, values)
            allowed[other] = [value for value in before if _is_among(value, values)]
            if not allowed[other]:
                return None
            waiting.append(other)
    return {key: allowed[key][0] for key in space.settings if key in allowed}


def _drawn(space: Space, tried: Mapping[str, list], random: Random) -> dict[str, Any]:
    """Draw all settings that are in force."""
    settings: dict[str, Any] = {}
    for key, values in tried.items():
        when = _required(space.settings[key].when)
        if all(other in settings and _is_among(settings[other], when[other]) for other in when):
            settings[key] = random.choice(values)
    return settings


def _probes(setting: SearchParameter) -> Iterator[Any]:
    if setting.choices is not None:
        yield from setting.choices
    else:
        yield from (setting.low, setting.high)
        if not _is_of_integers(setting):
            yield setting.low + WITHIN * (setting.high - setting.low)


def _required(when: Mapping[str, Any]) -> dict[str, list]:
    return {
        key: list(value) if isinstance(value, list | tuple) else [value]
        for key, value in when.items()
    }


def _is_of_integers(setting: SearchParameter) -> bool:
    return isinstance(setting.low, int) and isinstance(setting.high, int)


def _as_text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _is_among(value: Any, values: Any) -> bool:
    # In YAML 1 and 1.0 are one value, but 1 and true are not.
    return any(
        value == other and isinstance(value, bool) == isinstance(other, bool) for other in values
    )


def _is_of_numbers(choices: tuple[Any, ...]) -> bool:
    return all(isinstance(each, int | float) and not isinstance(each, bool) for each in choices)


def _encoded(setting: SearchParameter, choice: Any) -> int | float | str:
    """Turn a choice into what KerasTuner takes: numbers of one type, or texts."""
    if not _is_of_numbers(setting.choices):
        return _as_text(choice)
    whole = all(isinstance(each, int) for each in setting.choices)
    return choice if whole else float(choice)


def _decoded(setting: SearchParameter, value: Any) -> Any:
    if setting.choices is not None:
        return next(each for each in setting.choices if _encoded(setting, each) == value)
    if _is_of_integers(setting):
        return int(value)
    rounded = float(f"{value:.{DIGITS}g}")
    return min(max(rounded, setting.low), setting.high)


def _step(setting: SearchParameter) -> int | float | None:
    if setting.step is None and _is_of_integers(setting) and setting.sampling == "linear":
        return 1
    return setting.step


def _count(setting: SearchParameter) -> int:
    """Count the values of a range with steps."""
    # 0.3 / 0.1 is a little less than 3.
    return int((setting.high - setting.low) / _step(setting) + 1e-9) + 1
