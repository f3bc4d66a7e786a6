"""What a picture's infotext says of an edit, and how pasting it sets the controls again.

Pure: the WebUI writes and parses the text; only the values' spelling is decided here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote, unquote

from .. import __version__
from ..errors import EditError
from ..legacy import LABELS, LABELS_0_2, RENAMED
from ..presets import PRESETS, preset
from .fields import CONTROLS, FIELDS, UNSEEN, Choice, chosen

VERSION = "MSBD version"
_SIZE = re.compile(r"\d+x\d+$")
_ODD = re.compile(r'[%"\x00-\x1f\x7f]|^\s|\s$')


_WORDS = LABELS | LABELS_0_2 | {now: LABELS[then] for then, now in RENAMED.items()}


def key(name: str) -> str:
    """The infotext's key for a field; what it is called in the WebUI may change, its key never."""
    return f"MSBD {_WORDS.get(name, name).replace('_', ' ').lower()}"


_NAMES = {key(name): name for name in (*LABELS, *FIELDS[1:])}
"""Fields by their keys; where an old one had the same, it had the same meaning."""


def parameters(choice: Choice) -> dict[str, str]:
    """What the infotext says: version, preset, and every field that differs from the preset.

    What `PANEL` has is compared with its defaults, not with the settings panel: the
    infotext is read where the panel may say something else.
    """
    base, said = preset(choice.preset).flat(), choice.settings.flat()
    changed = (name for name in (*FIELDS[1:], *UNSEEN) if said[name] not in (base[name], None))
    spelled = {key(name): _spelled(said[name]) for name in changed}
    return {VERSION: __version__, key("preset"): choice.preset} | spelled


def parsed(params: Mapping[str, Any]) -> Choice | None:
    """The choice a parsed infotext stands for, old keys included; None if it is none of ours.

    A value that this version does not allow is left at the preset's.
    """
    if VERSION not in params:
        return None
    name = params.get(key("preset"))
    start = {"preset": name if name in PRESETS else "paper"}
    found: dict[str, Any] = {}
    for spelled, field in _NAMES.items():
        if spelled not in params:
            continue
        value = {field: unquote(str(params[spelled]))}
        with suppress(EditError):
            chosen((start | value,), {})
            found |= value
    return chosen((start | found,), {})


def renew(text: str, params: dict[str, Any]) -> None:
    """Say in today's keys what a parsed infotext says in older ones; for `on_infotext_pasted`.

    Controls, and overrides of the options that have none, are then set to what was meant.
    """
    choice = parsed(params)
    if choice is not None:
        for old in _NAMES:
            params.pop(old, None)
        params.update(parameters(choice))


def paste_fields(controls: Mapping[str, Any]) -> list[tuple[Any, Callable[[Any], Any]]]:
    """`Script.infotext_fields`: each control, and what to set it to given a parsed infotext.

    controls: by field name. All that decide what the picture will be are set if the infotext is
    ours, else none.
    """

    def reader(name: str) -> Callable[[Mapping[str, Any]], Any]:
        def read(params: Mapping[str, Any]) -> Any:
            choice = parsed(params)
            return None if choice is None else choice.values()[name]

        return read

    return [(controls[name], reader(name)) for name in CONTROLS if name in FIELDS]


def _spelled(value: Any) -> str:
    """A value as text that the WebUI neither reads as a size nor strips of quotes or spaces.

    Commas and colons need no care: the WebUI quotes such values and unquotes them again.
    """
    text = _ODD.sub(lambda odd: quote(odd.group(), safe=""), str(value))
    if not text:
        return '""'
    return text.replace("x", "%78") if _SIZE.match(text) else text
