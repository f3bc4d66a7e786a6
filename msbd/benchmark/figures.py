"""Figures in Markdown."""

from __future__ import annotations

from typing import Any

Results = dict[str, Any]
"""As `msbd bench` writes them."""


def number(value: float | None, shown: str) -> str:
    return "–" if value is None else shown.format(value)


def mebibytes(bytes_: int | None) -> str:
    return number(None if bytes_ is None else bytes_ / 2**20, "{:.0f}")
