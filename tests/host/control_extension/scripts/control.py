"""A test extension that notes what the forks' built-in ControlNet attaches to the UNet."""

import base64
import io
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI
from modules import script_callbacks, scripts, shared
from modules_forge import supported_controlnet

attach = supported_controlnet.apply_controlnet_advanced


@dataclass
class Seen:
    """What happened since the last `forget`."""

    hints: list[dict[str, Any]] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    control: int = 0
    network: int = 0


seen = Seen()


def numbers(tensor: Any) -> dict[str, Any]:
    values = tensor.detach().float().cpu().contiguous().numpy()
    return {"shape": list(values.shape), "float32": base64.b64encode(values.tobytes()).decode()}


def noting(*, controlnet: Any, image_bchw: Any, **given: Any) -> Any:
    """Called as the host calls it, by name."""
    mask = given.get("advanced_mask_weighting")
    seen.hints.append(
        {"hint": numbers(image_bchw), "mask": mask if mask is None else numbers(mask)}
    )
    count(controlnet.control_model, "control")
    return attach(controlnet=controlnet, image_bchw=image_bchw, **given)


def count(network: Any, name: str) -> None:
    if not getattr(network, "msbd_counted", False):
        network.msbd_counted = True
        network.register_forward_pre_hook(lambda *_: setattr(seen, name, getattr(seen, name) + 1))


class Tiles(scripts.Script):
    def title(self) -> str:
        return "MSBD tests: tiles"

    def show(self, is_img2img: bool) -> Any:
        return scripts.AlwaysVisible

    def process_before_every_sampling(self, p: Any, *args: Any, **given: Any) -> None:
        file = io.BytesIO()
        p.init_images[0].convert("RGB").save(file, "PNG")
        seen.pictures.append(base64.b64encode(file.getvalue()).decode())


def forget() -> dict[str, Any]:
    vars(seen).update(vars(Seen()))
    count(shared.sd_model.forge_objects.unet.model.diffusion_model, "network")
    return {}


def tell() -> dict[str, Any]:
    left = shared.sd_model.forge_objects.unet.controlnet_linked_list is not None
    return {**vars(seen), "left": left}


def mount(_: Any, app: FastAPI) -> None:
    app.post("/msbd-control/forget")(forget)
    app.get("/msbd-control/seen")(tell)


supported_controlnet.apply_controlnet_advanced = noting
script_callbacks.on_app_started(mount)
