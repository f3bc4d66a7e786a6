"""What a setting is: a field of a dataclass with its range and the words about it."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, get_args, get_type_hints

from .errors import EditError

_WORDS = {"true": True, "yes": True, "on": True, "1": True} | {
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


def setting(
    default: Any,
    label: str = "",
    help: str = "",
    *,
    span: tuple[float, ...] = (),
    choices: tuple[str, ...] | None = None,
    paper: str = "",
) -> Any:
    """A dataclass field with what a user interface must know of it.

    span: inclusive bounds, and the step between values that are offered. choices: the only values
    allowed. paper: section or figure.
    """
    low, high, step = (*span, *3 * (None,))[:3]
    return field(
        default=default,
        metadata=dict(
            label=label, help=help, low=low, high=high, step=step, choices=choices, paper=paper
        ),
    )


@dataclass(frozen=True)
class Setting:
    """One setting as a user interface sees it. optional: whether None is allowed."""

    name: str
    type: type
    optional: bool
    default: Any
    label: str
    help: str
    low: float | None
    high: float | None
    step: float | None
    choices: tuple[str, ...] | None
    paper: str

    def converted(self, value: Any) -> Any:
        """`value` as this setting's type, if nothing is lost by it; checked."""
        with suppress(TypeError, ValueError, KeyError, OverflowError):  # the check tells of it
            if self.type is bool and isinstance(value, str):
                value = _WORDS[value.lower()]
            elif self.type is float and not isinstance(value, bool):
                value = float(value)
            elif self.type is int and not isinstance(value, bool):
                value = int(value) if float(value).is_integer() else value
        self.check(value)
        return value

    def check(self, value: Any) -> None:
        """Raise `EditError` unless `value` is of the right type and in range."""
        if self.optional and value is None:
            return
        allowed = value in self.choices if self.choices else type(value) is self.type
        if allowed and self.low is not None and self.high is not None:
            allowed = bool(self.low <= value <= self.high)
        if not allowed:
            raise EditError(f"{self.name} must be {self.kind}, not {value!r}")

    @property
    def kind(self) -> str:
        """The allowed values in words."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.type is bool:
            return "true or false"
        if self.low is not None and self.high is not None:
            what = "a whole number" if self.type is int else "a number"
            return f"{what} from {self.low:g} to {self.high:g}"
        return "a text"


def collected(group: type) -> dict[str, Setting]:
    """The settings of a dataclass by name, in their order of definition."""
    types = get_type_hints(group)
    found = {}
    for item in dataclasses.fields(group):
        if item.metadata:
            kinds = get_args(types[item.name]) or (types[item.name],)
            found[item.name] = Setting(
                item.name, kinds[0], type(None) in kinds, item.default, **item.metadata
            )
    return found
