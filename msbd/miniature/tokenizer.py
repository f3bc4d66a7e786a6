"""CLIP's tokenizer files, rebuilt from the word list that open_clip brings along."""

from __future__ import annotations

import gzip
import json
from importlib.util import find_spec
from pathlib import Path

from ..errors import EditError

START, END = "<|startoftext|>", "<|endoftext|>"
POSITIONS = 77
MERGES = 49152 - 256 - 2
"""Merges CLIP uses of the longer list; the vocabulary has 2 * 256 + MERGES + 2 entries."""


def byte_letters() -> list[str]:
    """A printable letter for each of the 256 bytes, in the order of the vocabulary.

    Printable bytes of Latin-1 stand for themselves and come first; the others take the letters
    from 256 on (the byte-level alphabet of GPT-2, Radford et al. 2019, which CLIP shares).
    """
    plain = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    return [chr(b) for b in plain] + [chr(256 + i) for i in range(256 - len(plain))]


def merges() -> list[str]:
    """CLIP's merges in order of rank, each two pieces parted by a blank, from open_clip's file."""
    package = find_spec("open_clip")
    if package is None or package.origin is None:
        raise EditError("CLIP's word list is missing; install open_clip_torch")
    path = Path(package.origin).parent / "bpe_simple_vocab_16e6.txt.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return file.read().split("\n")[1 : 1 + MERGES]


def vocabulary(ranked: list[str]) -> dict[str, int]:
    """Token -> id, 49,408 of them: letters, letters that end a word, merges, start, end."""
    letters = byte_letters()
    tokens = [*letters, *(letter + "</w>" for letter in letters)]
    tokens += ["".join(pair.split()) for pair in ranked]
    return {token: i for i, token in enumerate([*tokens, START, END])}


def write_tokenizer(directory: Path) -> None:
    """Write the files `CLIPTokenizer.from_pretrained(directory)` wants; pads with the end token."""
    directory.mkdir(parents=True, exist_ok=True)
    ranked = merges()
    words = json.dumps(vocabulary(ranked), ensure_ascii=False, separators=(",", ":"))
    (directory / "vocab.json").write_text(words, encoding="utf-8")
    (directory / "merges.txt").write_text(
        "\n".join(["#version: 0.2", *ranked, ""]), encoding="utf-8"
    )
    special = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": POSITIONS,
        "do_lower_case": True,
        "add_prefix_space": False,
        "errors": "replace",
        **special,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n")
    (directory / "special_tokens_map.json").write_text(json.dumps(special, indent=1) + "\n")
