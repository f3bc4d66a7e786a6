"""Start the WebUI that MSBD_WEBUI names, with a data folder of its own, and stop it again."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import models
from .http import Reply, call

REPOSITORY = Path(__file__).parents[2]
PROBE = Path(__file__).parent / "probe_extension"
HOOK = Path(__file__).parent / "hook_extension"
CONTROL = Path(__file__).parent / "control_extension"
MINIATURE = Path(__file__).parent / "miniature_extension"
ON_A_CPU = ("--skip-torch-cuda-test", "--use-cpu", "all")
OFFLINE = ("--no-download-sd-model", "--do-not-download-clip")
WHOLE_PRECISION = ("--no-half", "--precision", "full")
QUIET_THREADS = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
FORKS = ("--always-cpu", "--all-in-fp32", "--attention-pytorch")
"""What Forge and reForge have in place of A1111's flags, which they take and ignore."""
UNKNOWN = {
    "classic": {"--do-not-download-clip", "--opt-sdp-attention", "--precision", "full"},
}
"""Parts of the command that a WebUI does not take."""
START_LIMIT = 240
STOP_LIMIT = 20

# The WebUI restores only those overridden settings that its config.json names.
OPTIONS: dict[str, Any] = {
    "sd_model_checkpoint": models.PLAIN,
    "sd_vae": "Automatic",
    "CLIP_stop_at_last_layers": 1,
    "eta_ancestral": 1.0,
    "disable_mmap_load_safetensors": False,
    "auto_launch_browser": "Disable",
    "samples_filename_pattern": "[seed]",
    "live_previews_enable": True,
    "show_progress_every_n_steps": 1,
    "show_progress_type": "Approx cheap",
    "live_preview_refresh_period": 100.0,
    "live_previews_image_format": "png",
    "show_warnings": True,
    "face_restoration": False,
    "face_restoration_model": "probe",
    "img2img_color_correction": False,
}


@dataclass(frozen=True)
class Installation:
    """A WebUI on this machine: its folder and the Python it runs in."""

    folder: Path
    python: Path

    @classmethod
    def from_environment(cls) -> Installation | None:
        """What MSBD_WEBUI and MSBD_WEBUI_PYTHON name; None if there is none."""
        named = os.environ.get("MSBD_WEBUI")
        if not named:
            return None
        folder = Path(named).resolve()
        python = os.environ.get("MSBD_WEBUI_PYTHON") or folder / "venv" / "bin" / "python"
        assert (folder / "launch.py").is_file(), f"MSBD_WEBUI={folder} has no launch.py"
        assert Path(python).is_file(), f"no Python at {python}; set MSBD_WEBUI_PYTHON"
        return cls(folder, Path(python))

    @property
    def version(self) -> tuple[int, ...]:
        """As its change log says; a fork without one is taken for 1.10's."""
        log = self.folder / "CHANGELOG.md"
        changes = log.read_text(encoding="utf-8") if log.is_file() else "## 1.10.0"
        found = re.search(r"^## (\d+)\.(\d+)\.(\d+)", changes, re.MULTILINE)
        assert found, "CHANGELOG.md names no version"
        return tuple(int(part) for part in found.groups())

    @property
    def kind(self) -> str:
        """a1111, reforge, forge or classic, by the folder that only it has, or the missing log."""
        logged = (self.folder / "CHANGELOG.md").is_file()
        folders = {"backend": "forge", "ldm_patched": "reforge" if logged else "classic"}
        found = [kind for name, kind in folders.items() if (self.folder / name).is_dir()]
        return found[0] if found else "a1111"

    @property
    def is_fork(self) -> bool:
        return self.kind != "a1111"

    def packages(self) -> dict[str, str]:
        """Everything installed in its Python, by name."""
        code = (
            "import json, importlib.metadata as m; "
            "print(json.dumps({d.name: d.version for d in m.distributions()}))"
        )
        found = subprocess.run(
            [self.python, "-I", "-c", code], check=True, capture_output=True, text=True
        )
        return json.loads(found.stdout)


def prepare(
    data: Path,
    options: Mapping[str, Any],
    upscaler: bool = True,
    is_fork: bool = False,
    more: Sequence[Path] = (),
) -> None:
    """Fill a data folder: models, this extension and the tests' own, settings."""
    models.write(data, upscaler=upscaler)
    extensions = data / "extensions"
    extensions.mkdir(parents=True)
    (extensions / "multi-stage-blended-diffusion").symlink_to(REPOSITORY)
    for folder in (PROBE, MINIATURE, *more):
        (extensions / f"msbd-tests-{folder.name}").symlink_to(folder)
    own = {
        "outdir_samples": "",
        "outdir_img2img_samples": str(data / "outputs" / "img2img"),
        "outdir_txt2img_samples": str(data / "outputs" / "txt2img"),
        "outdir_img2img_grids": str(data / "outputs" / "grids"),
        "msbd_clip_weights": str(models.CLIP),
        "msbd_preset": "paper",  # every part of the engine is at work in it
    }
    if is_fork:
        own["msbd_resolution"] = 128  # they do not read what the checkpoint's description says
    (data / "config.json").write_text(json.dumps({**OPTIONS, **own, **options}))


@dataclass(eq=False)
class Webui:
    """A running WebUI. `url` is its address, `data` its data folder, `log` its output.

    on_a_cpu: or on whatever it finds.
    """

    installation: Installation
    data: Path
    flags: tuple[str, ...] = ()
    auth: tuple[str, str] | None = None
    on_a_cpu: bool = True
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.data / "webui.log"

    def start(self) -> None:
        """Start it and wait until it has loaded its model."""
        self.port = free_port()
        command = [str(self.installation.python), "launch.py", *OFFLINE, "--api"]
        command += [
            *(ON_A_CPU if self.on_a_cpu else ()),
            "--opt-sdp-attention",
            *self.flags,
            *self._forks_flags(),
            "--data-dir",
            str(self.data),
            "--port",
            str(self.port),
        ]
        command = [part for part in command if part not in UNKNOWN.get(self.installation.kind, ())]
        environment = os.environ | QUIET_THREADS | {"HF_HUB_OFFLINE": "1"}
        environment["PYTHONUNBUFFERED"] = "1"
        # What an edit teaches of its cost stays out of the user's home; downloads stay there.
        caches = Path(environment.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        environment.setdefault("HF_HOME", str(caches / "huggingface"))
        environment.setdefault("TORCH_HOME", str(caches / "torch"))
        environment["XDG_CACHE_HOME"] = str(self.data / "cache")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.installation.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.wait()

    def _forks_flags(self) -> list[str]:
        if not self.installation.is_fork:
            return []
        # Its page's own files lie outside the data folder, which gradio 4 must be told.
        allowed = ["--gradio-allowed-path", str(self.installation.folder)]
        return [*(FORKS if self.on_a_cpu else ()), *allowed]

    def wait(self, start: int = 0) -> None:
        """Until it has started (said after byte `start` of its output) and loaded its model.

        A request before all routes are there would end it: its application then takes no more.
        """
        end = time.monotonic() + START_LIMIT
        while "Startup time:" not in self.tail(start, 10**7) or not self._is_ready():
            assert self.process is not None
            code = self.process.poll()
            assert code is None, f"the WebUI ended with {code} at its start:\n{self.tail()}"
            assert time.monotonic() < end, f"the WebUI does not start:\n{self.tail()}"
            time.sleep(0.2)

    def _is_ready(self) -> bool:
        try:
            reply = self.get("/msbd-probe/ready", timeout=20)
        except OSError:
            return False
        return reply.status == 200 and reply.json["ready"]

    def stop(self) -> None:
        """End the process, and only that."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(STOP_LIMIT)

    def tail(self, start: int = 0, longest: int = 12_000) -> str:
        """The end of its output, from byte `start` on."""
        with self.log.open("rb") as log:
            log.seek(start)
            return log.read().decode(errors="replace")[-longest:]

    def get(self, route: str, timeout: float = 120, **query: Any) -> Reply:
        return call("GET", self.url + route, None, self.auth, timeout, **query)

    def post(self, route: str, body: Any = None, timeout: float = 120, **query: Any) -> Reply:
        """The reply, whatever its status; what takes too long is interrupted."""
        try:
            return call("POST", self.url + route, body, self.auth, timeout, **query)
        except TimeoutError:
            call("POST", self.url + "/sdapi/v1/interrupt", None, self.auth, 20)
            raise

    def delete(self, route: str, timeout: float = 120) -> Reply:
        return call("DELETE", self.url + route, None, self.auth, timeout)

    def probe(self, route: str, **query: Any) -> dict[str, Any]:
        """Ask the test extension, which must be able to answer."""
        read_only = ("state", "memory", "registrations", "decoder_blocks")
        ask = self.get if route in read_only else self.post
        reply = ask(f"/msbd-probe/{route}", **query)
        assert reply.status == 200, reply.text
        return reply.json


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
