"""Ask a running WebUI for edits, as a program would."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from msbd.miniature.world import draw_background, draw_object

from .server import Webui

TITLE = "Multi-Stage Blended Diffusion"
Pixels = NDArray[np.uint8]

QUICK = {"preset": "draft", "upscaler": "Lanczos"}
"""Fields of the extension for an edit that takes a second."""
REQUEST = {
    "prompt": "a red star",
    "seed": 1,
    "steps": 4,
    "cfg_scale": 6,
    "sampler_name": "Euler a",
    "mask_blur": 4,
    "script_name": TITLE,
}


@dataclass(frozen=True)
class Answer:
    """What img2img answered: pictures [H,W,3] and its `info`."""

    pictures: list[Pixels]
    info: dict[str, Any]

    @property
    def picture(self) -> Pixels:
        return self.pictures[0]

    @property
    def report(self) -> dict[str, Any]:
        """The extension's report on the first picture."""
        return self.info["msbd"][0]


@dataclass(frozen=True)
class Scene:
    """A picture of the miniature's world and a mask on it, both uint8."""

    picture: Pixels
    mask: Pixels

    def request(self, *args: Any, **more: Any) -> dict[str, Any]:
        """The body of a quick edit; `args` replaces the extension's fields, `more` the host's."""
        pictures = {"init_images": [encoded(self.picture)], "mask": encoded(self.mask)}
        return {**REQUEST, **pictures, "script_args": list(args or [QUICK]), **more}

    def touched(self, blur: int) -> NDArray[np.bool_]:
        """Where an edit may change the picture."""
        painted = self.mask >= 128
        return ndimage.binary_dilation(painted, np.ones((3, 3)), blur) if blur else painted

    def is_edited(self, result: Pixels, blur: int = 4) -> bool:
        """Whether the result differs well inside the mask and nowhere outside it."""
        assert result.shape == self.picture.shape, f"{result.shape}, not {self.picture.shape}"
        touched = self.touched(blur)
        outside = int((result != self.picture)[~touched].any(-1).sum())
        assert outside == 0, f"{outside} pixels outside the mask changed"
        change = np.abs(result.astype(int) - self.picture)[self.mask >= 128]
        assert change.mean() > 2, f"inside the mask the picture changed by {change.mean():.2f} only"
        assert np.unique(result[self.mask >= 128], axis=0).shape[0] > 8, "the edit is flat"
        return True


def scene(height: int = 208, width: int = 256, unit: float = 176.0, radius: float = 52.0) -> Scene:
    """Grass with a blue circle at its edge; a disc in the middle is the mask."""
    rng = np.random.default_rng(5)
    ground = draw_background(rng, "grass", height, width, unit)
    picture = draw_object(ground, "circle", "blue", (0.1, 0.1), 0.12, unit)
    return Scene(picture, disc(height, width, radius))


def disc(height: int, width: int, radius: float) -> Pixels:
    y, x = np.ogrid[:height, :width]
    inside = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2) <= radius
    return np.where(inside, 255, 0).astype(np.uint8)


def encoded(pixels: Pixels | Image.Image) -> str:
    """A PNG in base64."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def decoded(text: str) -> Pixels:
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        return np.asarray(image.convert("RGB"))


def asked(webui: Webui, route: str, body: dict[str, Any]) -> Answer:
    """The pictures of a request that must succeed."""
    reply = webui.post(f"/sdapi/v1/{route}", body)
    assert reply.status == 200, f"HTTP {reply.status}: {reply.reason[:2000]}"
    answer = reply.json
    return Answer([decoded(image) for image in answer["images"]], json.loads(answer["info"]))


def edited(webui: Webui, scene: Scene, *args: Any, **more: Any) -> Answer:
    """An edit of the scene through /sdapi/v1/img2img."""
    return asked(webui, "img2img", scene.request(*args, **more))


def painted(webui: Webui, **more: Any) -> Pixels:
    """A small text-to-image picture, which the host computes bit by bit alike."""
    body = {"prompt": "a red star", "seed": 3, "steps": 2, "width": 128, "height": 128,
            "sampler_name": "Euler a", **more}  # fmt: skip
    return asked(webui, "txt2img", body).picture


def refused(webui: Webui, body: dict[str, Any]) -> tuple[int, str]:
    """Status and explanation of a request that must fail."""
    reply = webui.post("/sdapi/v1/img2img", body)
    assert reply.status != 200, "the request was not refused"
    return reply.status, reply.reason
