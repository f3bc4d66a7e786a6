"""A stand-in of the WebUI, so that `msbd.webui` is tested where there is none.

`webui/` holds packages under the host's names, with those of the host's names that matter to an
edit, and no others: `tests/host/test_standin_matches.py` holds each name and signature against
the real host. Names that begin with an underscore are the stand-in's own.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from tempfile import TemporaryDirectory
from types import CodeType, ModuleType
from typing import Any

WEBUI = Path(__file__).parent / "webui"
FORKS_PACKAGES = ("backend", "ldm_patched", "modules_forge")
_compiled: dict[str, CodeType | None] = {}
_PACKAGES = {path.stem for path in WEBUI.iterdir() if path.suffix in ("", ".py")}


class Host:
    """A started WebUI: its modules as attributes, and a model loaded."""

    def __getattr__(self, name: str) -> ModuleType:
        return importlib.import_module(f"modules.{name}")

    def load(self, model: Any, name: str = "standin") -> Any:
        """Make `model` a checkpoint of that name, and load it."""
        info = self.sd_models.CheckpointInfo(f"/models/{name}.safetensors")
        info.register()
        model.sd_checkpoint_info, model.sd_model_checkpoint = info, info.filename
        data = self.sd_models.model_data
        data.set_sd_model(model)
        data.was_loaded_at_least_once = True
        self.shared.opts.sd_model_checkpoint = info.title
        return model

    @property
    def model(self) -> Any:
        """The loaded checkpoint."""
        return self.shared.sd_model

    @property
    def calls(self) -> list[Any]:
        """What the loaded checkpoint's network was given so far."""
        return self.model._calls

    def before_call(self, happens: Callable[[int], None]) -> None:
        """Let `happens(number of calls so far)` happen before each of the network's calls."""
        self.model._before_call = happens

    @property
    def saved(self) -> list[Any]:
        """What was saved: image, seed, prompt, info, suffix, whether it is a grid."""
        return self.images._saved

    def begin(self) -> None:
        """What the host does before it calls a script."""
        self.shared.state.begin("test")


@contextmanager
def installed(kind: str = "a1111") -> Iterator[Host]:
    """A freshly started host in `sys.modules`; afterwards it and `msbd.webui` are forgotten.

    kind: a1111, or one of `fork.KINDS`.
    """

    def take() -> dict[str, ModuleType]:
        return {name: sys.modules.pop(name) for name in list(sys.modules) if _is_ours(name)}

    before, finder = take(), _Finder()
    sys.path.insert(0, str(WEBUI))
    sys.meta_path.insert(0, finder)
    try:
        with TemporaryDirectory() as folder:
            host = _started(kind)
            host.paths_internal.data_path = folder
            yield host
    finally:
        sys.meta_path.remove(finder)
        sys.path.remove(str(WEBUI))
        take()
        sys.modules.update(before)


def _is_ours(name: str) -> bool:
    package = name.partition(".")[0]
    return package in _PACKAGES or package in FORKS_PACKAGES or name.startswith("msbd.webui")


class _Finder(MetaPathFinder):
    """Finds our modules as ever, and saves compiling them again for every test."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path) if _is_ours(fullname) else None
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType | None:
        if self.path not in _compiled:
            _compiled[self.path] = super().get_code(fullname)
        return _compiled[self.path]


def _started(kind: str) -> Host:
    from .fork import ForkHost
    from .model import LatentDiffusion

    host = Host() if kind == "a1111" else ForkHost(kind)
    host.shared_init.initialize()
    host.shared.opts.ESRGAN_tile = 0  # the test pictures are smaller than the host's 192
    host.shared.opts.data["msbd_preset"] = "paper"  # every part of the engine is at work in it
    upscaler, realesrgan = host.upscaler, host.realesrgan_model
    for one in (
        upscaler.UpscalerNone(),
        upscaler.UpscalerLanczos(),
        upscaler.UpscalerNearest(),
        realesrgan.UpscalerRealESRGAN("models/RealESRGAN"),
    ):
        host.shared.sd_upscalers += one.scalers
    host.load(LatentDiffusion())
    return host
