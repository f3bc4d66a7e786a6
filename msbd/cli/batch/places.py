"""Names of files: paths, and addresses such as s3://bucket/name, which fsspec opens."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from ...errors import EditError

_TELLING = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "created")
"""What stores call a digest of a file's content, or else its time; the first that there is."""

_WEB = ("http://", "https://")


def is_address(name: str) -> bool:
    return "://" in name


def whole(name: str) -> str:
    """The name by which every worker finds the file, wherever it was started."""
    return name if is_address(name) else os.path.normpath(Path(name).absolute())


def typed(name: str) -> str:
    """A name as a shell reads it: ~ is the user's home."""
    try:
        return str(Path(name).expanduser()) if name.startswith("~") else name
    except RuntimeError:  # nobody is called so
        return name


def exists(name: str) -> bool:
    """Whether it is the path of something; a name that cannot be is none."""
    with suppress(OSError, ValueError):
        return Path(name).exists()
    return False


def join(folder: str, name: str) -> str:
    """The whole name of a file: `name` if it says all, else below `folder`."""
    if is_address(name) or Path(name).is_absolute():
        return whole(name)
    if is_address(folder):
        return f"{folder.rstrip('/')}/{PurePosixPath(name)}"
    return whole(str(Path(folder) / name))


def parent(name: str) -> str:
    """The folder that a file is in."""
    return name.rpartition("/")[0] if is_address(name) else str(Path(name).parent)


def key(name: str) -> str:
    """The same for names of the same file, through links, and past capital letters where a system
    looks past them."""
    try:
        real = name if is_address(name) else os.path.realpath(name)
    except (OSError, ValueError):  # a name that cannot be
        real = name
    return real.casefold() if sys.platform in ("win32", "darwin") else real


def marks(names: set[str]) -> dict[str, str]:
    """What tells each file from what may lie there another time; files that are gone have none.

    Size and time of a path; size and what the store says of its content, or else its time, of an
    address; nothing of a file on a web server, which is known by its address alone. Folders are
    listed, each once. Raises `EditError` for a store that does not answer.
    """
    made: dict[str, str] = {}
    folders: dict[str, set[str]] = {}
    for name in names:
        folders.setdefault(parent(name), set()).add(name)
    for folder, inside in folders.items():
        if is_address(folder):
            made |= {} if folder.startswith(_WEB) else _listed(folder, inside)
            continue
        for name in inside:
            try:
                facts = Path(name).stat()
            except (OSError, ValueError):  # a name that cannot be
                continue
            made[name] = f"{facts.st_size} {facts.st_mtime_ns}"
    return made


def _listed(folder: str, names: set[str]) -> dict[str, str]:
    try:
        system, root = _system(folder)
    except EditError:  # which the row itself will tell
        return {}
    try:
        system.invalidate_cache(root)
        entries = {one["name"].rpartition("/")[2]: one for one in system.ls(root, detail=True)}
    except FileNotFoundError:
        return {}
    except Exception as error:  # each store has its own
        why = " ".join(str(error).split())
        raise EditError(f"{folder} cannot be listed: {why}: try again later") from error
    made = {}
    for name in names:
        entry = entries.get(name.rpartition("/")[2])
        if entry is not None:
            facts = (entry.get(key) for key in _TELLING)
            made[name] = f"{entry.get('size')} {next(filter(None, facts), '')}"
    return made


@contextmanager
def here(name: str) -> Iterator[Path]:
    """A file of this name that can be read by its path, for the time of the block.

    Raises `EditError` if it cannot be had, and `ConnectionError` if it may be had another time.
    """
    if not is_address(name):
        yield Path(name)
        return
    with tempfile.TemporaryDirectory(prefix="msbd-") as folder:
        path = Path(folder) / name.rpartition("/")[2].partition("?")[0]
        system, root = _system(name)
        with _plainly(name), system.open(root, "rb") as source, path.open("wb") as target:
            shutil.copyfileobj(source, target)
        yield path


@contextmanager
def there(name: str) -> Iterator[Path]:
    """A path to write to; what was written becomes the file of this name if all goes well."""
    if name.startswith(_WEB):
        raise EditError(
            f"{name}: nothing can be written to a web server: name a folder, or a store"
        )
    if not is_address(name):
        path = Path(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise EditError(f"{name}: its folder cannot be made: {why}") from None
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="msbd-") as folder:
        path = Path(folder) / name.rpartition("/")[2]
        system, root = _system(name)
        yield path
        with _plainly(name):
            system.put_file(str(path), root)


@contextmanager
def _plainly(name: str) -> Iterator[None]:
    """What stores say, in words that tell what to change."""
    try:
        yield
    except FileNotFoundError as error:
        if isinstance(error.__cause__, OSError):  # what did not answer is not found, either
            raise ConnectionError(f"{name}: {error.__cause__}") from error
        raise EditError(f"there is no file {name}") from None
    except PermissionError as error:
        raise EditError(f"{name}: access is denied: {error}") from None
    except NotImplementedError:
        raise EditError(f"{name}: such a place can only be read") from None
    except (TimeoutError, ConnectionError):
        raise
    except Exception as error:  # each store has its own
        raise ConnectionError(f"{name}: {error}") from error


def _system(name: str) -> tuple[Any, str]:
    """fsspec's file system of an address, and the name in it."""
    import fsspec

    try:
        found: tuple[Any, str] = fsspec.core.url_to_fs(name)
    except ImportError as error:
        raise EditError(f"{name}: {error}: pip install 'msbd[batch]' has that of s3") from None
    except ValueError as error:
        raise EditError(f"{name}: {error}") from None
    return found
