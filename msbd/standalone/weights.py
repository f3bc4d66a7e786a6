"""Weights in files, told by content and read without running code from them.

This module is also what `torch.load` takes in place of `pickle`: of other people's classes, which
training programs leave in their checkpoints, nothing is made.
"""

from __future__ import annotations

import logging
import pickle
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from ..errors import EditError
from ..memory import is_out_of_memory
from .file_kinds import kind_of

logger = logging.getLogger(__name__)
_ZIP, _PICKLE, _HEADER = b"PK\x03\x04", b"\x80", 8
_KNOWN = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
}
"""What tensors by name are made of, besides the storages, which `torch.load` knows by itself."""


def read_weights(path: Path) -> dict[str, Any]:
    """What a file of safetensors' or PyTorch's formats holds by name, its tensors on the CPU.

    Of a TorchScript archive, which is a program, only the weights.

    Raises `EditError` for a file that is missing, damaged or of another kind; a failed allocation
    is raised as it is.
    """
    if path.is_dir() or not path.exists():
        raise EditError(f"{path} is not there; give the path of a .safetensors or .ckpt checkpoint")
    try:
        content = _read(path)
    except EditError:
        raise
    except PermissionError:
        raise EditError(f"{path} may not be read; check its permissions") from None
    except Exception as error:  # safetensors, torch and pickle raise many kinds for damaged files
        if is_out_of_memory(error):
            raise
        logger.debug("reading %s", path, exc_info=True)
        raise EditError(f"{path.name} is damaged; download it again") from error
    if not isinstance(content, dict):
        raise EditError(f"{path.name} holds no weights by name; choose another file")
    return content


def tensors_of(content: dict[str, Any]) -> dict[str, Tensor]:
    """Those by name, of a whole file or of its `state_dict`; numbers, texts and the like are left
    out."""
    found = content.get("state_dict")
    tensors = found if isinstance(found, dict) else content
    return {name: value.detach() for name, value in tensors.items() if isinstance(value, Tensor)}


def _read(path: Path) -> Any:
    with path.open("rb") as file:
        start = file.read(_HEADER + 1)
    if start[_HEADER:] == b"{":
        from safetensors.torch import load_file

        return load_file(path)
    if start.startswith(_ZIP):
        with zipfile.ZipFile(path) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()}
        if "data.pkl" not in names:
            raise EditError(f"{path.name} is a zip archive; unpack it, and give the file in it")
        if "constants.pkl" in names:
            return dict(torch.jit.load(path, map_location="cpu").state_dict())
    elif not start.startswith(_PICKLE):
        kind = kind_of(path)
        what = f"is {kind}, and not weights" if kind else "is not a file of weights"
        raise EditError(f"{path.name} {what}; download it again, or choose another")
    # Of a path the suffix would count again; and hosts put a function of theirs, which takes only
    # paths, in the place of `torch.load`.
    with path.open("rb") as file:
        return torch.serialization.load(
            file, map_location="cpu", weights_only=False, pickle_module=sys.modules[__name__]
        )


class Nothing(dict[Any, Any]):
    """In the place of anything else: takes whatever is said of it, and keeps none."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def __call__(self, *_: Any) -> Nothing:
        return self

    def _ignore(self, *_: Any) -> None: ...

    __setitem__ = __setstate__ = append = extend = add = _ignore
    __hash__ = object.__hash__  # type: ignore[assignment]


class Unpickler(pickle.Unpickler):
    """`pickle.Unpickler`, for which no classes exist but those of tensors by name."""

    def find_class(self, module: str, name: str, /) -> Any:
        return _KNOWN.get((module, name), Nothing)


def load(file: IO[bytes], **options: Any) -> Any:
    """`pickle.load` with our `Unpickler`."""
    return Unpickler(file, **options).load()
