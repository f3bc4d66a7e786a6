"""Kept edits of many pictures under names that nobody guesses, within limits of room and age."""

from __future__ import annotations

import re
import secrets
import shutil
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import EditError
from .folder import FACTS, EditFolder

ID = re.compile(r"[0-9a-f]{32}")
_DAY = 24 * 3600


class EditStore:
    """Edit folders in one place, each named by 128 random bits."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def new(self, about: dict[str, Any]) -> EditFolder:
        """Raises `EditError` if nothing can be kept here."""
        return EditFolder.create(self.root / secrets.token_hex(16), about)

    def copied(self, folder: EditFolder) -> EditFolder:
        """A new one with the work of another; see `EditFolder.copied`."""
        return folder.copied(self.root / secrets.token_hex(16))

    def open(self, name: str) -> EditFolder:
        """Raises `EditError` if no edit of this name is kept."""
        return EditFolder.open(self._path(name))

    def last(self) -> EditFolder:
        """The one that was written to last. Raises `EditError` if there is none."""
        kept = self._all()
        if not kept:
            raise EditError("no edit is kept: press Generate for a new one")
        return EditFolder.open(max(kept)[1])

    def forget(self, name: str) -> None:
        """Delete all that is kept of an edit. Raises `EditError` if there is none."""
        path = self._path(name)
        try:
            shutil.rmtree(path)
        except OSError as error:
            why = error.strerror or error
            raise EditError(f"edit {name} cannot be deleted from {self.root}: {why}") from None

    def tidy(self, most_bytes: float, most_days: float, keep: Collection[str] = ()) -> None:
        """Delete what is too old, and then the oldest until the rest has room; but for `keep`.

        What cannot be deleted now stays for the next time.
        """
        kept = 0.0
        for changed, path in sorted(self._all(), reverse=True):
            size = 0
            with suppress(OSError):  # another process deletes it, too
                size = sum(file.stat().st_size for file in path.iterdir() if file.is_file())
            kept += size
            old = time.time() - changed > most_days * _DAY
            if path.name not in keep and (old or kept > most_bytes):
                kept -= size
                shutil.rmtree(path, ignore_errors=True)

    def _all(self) -> list[tuple[float, Path]]:
        """When each edit here was last written to, and its folder."""
        found = []
        with suppress(OSError):
            for path in self.root.iterdir():
                if ID.fullmatch(path.name):
                    with suppress(OSError):
                        found.append(((path / FACTS).stat().st_mtime, path))
        return found

    def _path(self, name: str) -> Path:
        """The folder of that name, which is checked before it is part of any path."""
        if not isinstance(name, str) or not ID.fullmatch(name):
            raise EditError("edit_id must be 32 digits from 0 to 9 and a to f")
        path = self.root / name
        if not path.is_dir() or path.is_symlink():
            raise EditError(f"the edit {name} is not kept any more: press Generate to begin anew")
        return path
