"""What it takes to make an edit again, as it is stored in the result."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from PIL import Image

from .. import __version__
from ..errors import EditError
from ..legacy import with_stored
from ..settings import EditSettings
from ..standalone import exif
from ..standalone.pictures import of_any_size

KEY = "msbd"
"""The keyword of the recipe among a PNG's texts; other files have it in EXIF's user comment."""


@dataclass(frozen=True)
class Recipe:
    """What it takes to make an edit again, given the picture, the mask and the model."""

    prompt: str
    negative: str
    seed: int
    settings: EditSettings
    model: str = ""

    def to_json(self) -> str:
        facts = {
            "version": __version__,
            "prompt": self.prompt,
            "negative": self.negative,
            "seed": self.seed,
            "model": self.model,
            "settings": self.settings.flat(),
        }
        return json.dumps(facts)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Raises `EditError` for a setting this version does not know."""
        facts = json.loads(text)
        return cls(
            str(facts["prompt"]),
            str(facts["negative"]),
            int(facts["seed"]),
            with_stored(EditSettings(), facts["settings"]),
            str(facts.get("model", "")),
        )


def stored_text(file: Path | IO[bytes]) -> str | None:
    """The recipe's text in a picture's file, if there is one."""
    with of_any_size(), Image.open(file) as image:
        text = image.info.get(KEY)
        block = image.info.get("exif")
        if text is None and block:
            text = exif.comment(block.removeprefix(b"Exif\0\0"))
        return text


def read_recipe(path: Path) -> Recipe:
    """The recipe stored in a picture that `msbd edit` made. Raises `EditError` if there is none."""
    try:
        return Recipe.from_json(stored_text(path) or "")
    except EditError as error:
        raise EditError(f"{path} was made by another version: {error}") from None
    except FileNotFoundError:
        raise EditError(f"{path}: there is no such file") from None
    except (OSError, SyntaxError, ValueError, TypeError, KeyError):
        raise EditError(f"{path} holds no settings: give a picture made by `msbd edit`") from None
