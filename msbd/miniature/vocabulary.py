"""Words and tokens: the world's few words as rows of CLIP's byte-pair vocabulary.

Training uses a small embedding with one row per token of the world, the two
markers and one row shared by all unknown tokens; ``expand_rows`` gives the full
table of 49408 rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from open_clip.tokenizer import SimpleTokenizer

from .models import END, POSITIONS, START, VOCABULARY
from .world import BACKGROUNDS, COLOURS, EMPTY_TEMPLATES, SHAPES, TEMPLATES

UNKNOWN_SHARE = 0.12
MOST_UNKNOWN = 3


@lru_cache(maxsize=1)
def _tokenizer() -> SimpleTokenizer:
    return SimpleTokenizer()


@lru_cache(maxsize=8192)
def _tokens(words: str) -> tuple[int, ...]:
    return tuple(_tokenizer().encode(words))


@lru_cache(maxsize=1)
def known_tokens() -> tuple[int, ...]:
    """CLIP's ids of the markers and of the world's words, in the order of their rows."""
    blank = dict(colour="", shape="", background="")
    captions = [t.format(**blank) for t in TEMPLATES + EMPTY_TEMPLATES]
    words = " ".join([*COLOURS, *SHAPES, *BACKGROUNDS, *captions])
    return (START, END, *sorted(set(_tokens(words))))


def row_count() -> int:
    """Rows of the small embedding."""
    return len(known_tokens()) + 1


def _pad(tokens: Sequence[int], start: int, end: int) -> list[int]:
    body = [start, *tokens[: POSITIONS - 2]]
    return body + [end] * (POSITIONS - len(body))


def encode(captions: list[str]) -> torch.Tensor:
    """CLIP's token ids [B, 77], padded with the end token."""
    return torch.tensor([_pad(_tokens(c), START, END) for c in captions])


def encode_rows(captions: list[str], rng: np.random.Generator) -> torch.Tensor:
    """Rows [B, 77] of the small embedding, with a few unknown words strewn into some captions."""
    known = {token: row for row, token in enumerate(known_tokens())}
    unknown = len(known)
    batch = []
    for words in captions:
        rows = [known.get(t, unknown) for t in _tokens(words)]
        if rows and rng.uniform() < UNKNOWN_SHARE:
            for _ in range(rng.integers(1, MOST_UNKNOWN + 1)):
                rows.insert(rng.integers(len(rows) + 1), unknown)
        batch.append(_pad(rows, known[START], known[END]))
    return torch.tensor(batch)


def expand_rows(table: torch.Tensor) -> torch.Tensor:
    """The small embedding [rows, width] as the full one [49408, width]."""
    full = table[-1].expand(VOCABULARY, -1).clone()
    full[list(known_tokens())] = table[:-1]
    return full
