"""Files that are there whole or not at all."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TRIES = 100


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the name of a temporary file that becomes `path` if all goes well, else disappears.

    It lies in the same folder, and its name is never longer.
    """
    path = path.resolve()
    temporary = _fresh(path)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _fresh(path: Path) -> Path:
    """An empty file of a new name beside `path`."""
    for _ in range(_TRIES):
        name = secrets.token_hex(8)[: len(path.name)]
        try:
            (found := path.with_name(name)).touch(exist_ok=False)
        except FileExistsError:
            continue
        return found
    raise FileExistsError(f"{path}: no temporary name is free beside it")


def write_json(path: Path, value: Any) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def write_array(path: Path, values: NDArray[np.float32]) -> str:
    """Write an array as NumPy does; its digest, which `read_array` asks for."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, values, allow_pickle=False)
    return _digest(values)


def read_array(path: Path, digest: str) -> NDArray[np.float32] | None:
    """The very array that was written; None if it is not there, or not whole."""
    try:
        values: NDArray[np.float32] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return values if _digest(values) == digest else None


def _digest(values: NDArray[np.float32]) -> str:
    """Of an array's values, type and shape."""
    kind = f"{values.dtype} {values.shape}".encode()
    made = hashlib.blake2b(kind, digest_size=16)
    made.update(np.ascontiguousarray(values).data.cast("B"))
    return made.hexdigest()
