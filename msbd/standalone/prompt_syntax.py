"""The WebUI's notation in prompts: `(x)`, `(x:1.3)`, `[x]`, `\\(`, and BREAK."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..errors import EditError

BREAK = "BREAK", -1.0
"""In the place of a part: what follows begins anew, as if it were another prompt."""
_STEP = 1.1
_TOKEN = re.compile(
    r"""
    \\ [\\()\[\]]?                          # an escaped sign, or a backslash by itself
    | : \s* ([+-]?[.\d]+) \s* \)            # the end of (x:1.3)
    | [()\[\]:]
    | [^\\()\[\]:]+
    """,
    re.VERBOSE,
)
_BREAK = re.compile(r"\s*\bBREAK\b\s*")
_EXTRA_NETWORK = re.compile(r"<\w+:[^>]+>")
_WRITTEN_WEIGHT = re.compile(r":\s*[+-]?[.\d]+\s*\)")
_EDITING = re.compile(r"(?<!\\)\[[^\[\]]*[:|][^\[\]]*(?<!\\)\]")
_COMPOSITION = re.compile(r"\bAND\b")


def weighted_parts(text: str) -> list[tuple[str, float]]:
    """What a prompt says, in order, each part with its weight; BREAK in between.

    Round brackets weigh 1.1, or what is written before they close, square ones 1 / 1.1, and those
    in others their product. Brackets that nothing closes reach to the end, and what closes none
    is a word. Raises `EditError` for a weight that is no number.
    """
    parts: list[tuple[str, float]] = []
    begun: dict[str, list[int]] = {"(": [], "[": []}

    def weigh(begin: int, weight: float) -> None:
        parts[begin:] = [(words, own * weight) for words, own in parts[begin:]]

    for found in _TOKEN.finditer(_EXTRA_NETWORK.sub("", text)):
        token, number = found[0], found[1]
        opening = "(" if number or token == ")" else "[" if token == "]" else ""
        if token in begun:
            begun[token].append(len(parts))
        elif opening and begun[opening]:
            weigh(begun[opening].pop(), _weight(opening, number))
        elif token.startswith("\\"):
            parts.append((token[1:], 1.0))
        else:
            first, *others = _BREAK.split(token)
            parts.append((first, 1.0))
            for words in others:
                parts += [BREAK, (words, 1.0)]
    for opening, begins in begun.items():
        for begin in begins:
            weigh(begin, _weight(opening))
    return list(_joined(parts)) or [("", 1.0)]


def _weight(opening: str, number: str | None = None) -> float:
    try:
        return float(number) if number else _STEP if opening == "(" else 1 / _STEP
    except ValueError:
        raise EditError(f"the prompt's weight {number} is no number: write (words:1.3)") from None


def _joined(parts: list[tuple[str, float]]) -> Iterator[tuple[str, float]]:
    """Neighbours of the same weight as one."""
    place = 0
    while place < len(parts):
        words, weight = parts[place]
        place += 1
        while place < len(parts) and parts[place][1] == weight:
            words += parts[place][0]
            place += 1
        yield words, weight


def plain_words(text: str) -> str:
    """A prompt without its notation."""
    parts = (" " if part == BREAK else part[0] for part in weighted_parts(text))
    return " ".join("".join(parts).split())


def unsupported(text: str) -> Iterator[str]:
    """What a prompt asks for that only the WebUI can do, in sentences."""
    if found := _EXTRA_NETWORK.findall(text):
        yield f"{', '.join(found)}: LoRAs and their like work in the WebUI only: left out"
    if found := _EDITING.findall(_WRITTEN_WEIGHT.sub(")", text)):
        yield f"{', '.join(found)}: prompts change between steps in the WebUI only: read as words"
    if _COMPOSITION.search(text):
        yield "AND: prompts are composed in the WebUI only: read as a word"


def without_prompt(text: str) -> Iterator[str]:
    """What an empty prompt means, in a sentence."""
    if not text.strip():
        yield (
            "there is no prompt, so what is painted follows its surroundings, and of the "
            "candidates the one that fits in best is kept"
        )
