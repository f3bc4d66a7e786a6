"""A test extension: a small control model with made-up weights, which the forks' own ControlNet
loads, and which notes every hint that it is given."""

import base64
import io
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from fastapi import FastAPI
from modules import script_callbacks, shared
from modules_forge.shared import add_supported_control_model
from modules_forge.supported_controlnet import ControlModelPatcher
from PIL import Image

WEIGHTS = "made_up.weight"
# The forks keep control models when they load scripts anew, and forget the rest.
seen: dict[str, Any] = vars(shared).setdefault("msbd_control", {"hints": [], "calls": 0})


class MadeUp(ControlModelPatcher):
    """Adds to the network's answer what a convolution makes of the hint."""

    @staticmethod
    def try_build_from_state_dict(state_dict: dict[str, Any], ckpt_path: str) -> Any:
        return MadeUp(state_dict[WEIGHTS]) if WEIGHTS in state_dict else None

    def process_before_every_sampling(
        self, process: Any, cond: Any, mask: Any, *args: Any, **kwargs: Any
    ) -> None:
        seen["hints"].append(encoded(cond))
        control = F.conv2d(cond.float() - 0.5, self.model_patcher.float(), stride=8)
        strength = self.strength
        unet = process.sd_model.forge_objects.unet.clone()

        def wrapped(run: Any, given: dict[str, Any]) -> Any:
            seen["calls"] += 1
            answer = run(given["input"], given["timestep"], **given["c"])
            return answer + strength * control.to(answer)

        unet.set_model_unet_function_wrapper(wrapped)
        process.sd_model.forge_objects.unet = unet


def encoded(hint: torch.Tensor) -> str:
    file = io.BytesIO()
    pixels = (hint[0].movedim(0, -1) * 255).round().clamp(0, 255).cpu().numpy().astype(np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def forget() -> dict[str, Any]:
    seen.update(hints=[], calls=0)
    return {}


def tell() -> dict[str, Any]:
    options = shared.sd_model.forge_objects.unet.model_options
    return {**seen, "left": "model_function_wrapper" in options}


def mount(_: Any, app: FastAPI) -> None:
    app.post("/msbd-control/forget")(forget)
    app.get("/msbd-control/seen")(tell)


add_supported_control_model(MadeUp)
script_callbacks.on_app_started(mount)
