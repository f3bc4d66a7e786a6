"""The settings as text, for the help."""

from __future__ import annotations

import textwrap
from typing import Any

from ..presets import PRESETS
from ..settings import SETTINGS


def settings_in_short() -> str:
    """All names and defaults in a few lines."""
    pairs = ", ".join(f"{name}={_shown(known.default)}" for name, known in SETTINGS.items())
    return "settings and defaults:\n" + textwrap.indent(textwrap.fill(pairs, 88), "  ")


def settings_in_full() -> str:
    """Every setting with its range, default and meaning; then the presets."""
    lines = []
    for name, known in SETTINGS.items():
        lines.append(f"{name} = {_shown(known.default)}  ({known.kind})")
        paper = f" [paper: {known.paper}]" if known.paper else ""
        lines.append(textwrap.indent(textwrap.fill(known.help + paper, 84), " " * 4))
    lines.append("\nPresets:")
    for name, values in PRESETS.items():
        changes = ", ".join(f"{key}={_shown(value)}" for key, value in values.items())
        lines.append(f"  {name}: {changes or 'the defaults'}")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
