"""A test extension that takes part in sampling as ControlNet does: by the hook before it.

It notes what each call of the hook was given, and attaches to the UNet something that counts the
network's calls, as extensions of the host at hand attach what they have.
"""

import base64
import io
from dataclasses import asdict, dataclass, field
from typing import Any

from fastapi import FastAPI
from modules import script_callbacks, scripts, shared


@dataclass
class Seen:
    """What happened since the last `forget`."""

    hooks: list[dict[str, Any]] = field(default_factory=list)
    attached: int = 0
    network: int = 0
    after: dict[str, Any] = field(default_factory=dict)


seen = Seen()


def encoded(picture: Any) -> str:
    file = io.BytesIO()
    picture.convert("RGB").save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def unet() -> Any:
    """The network itself, wherever the host keeps it."""
    model = shared.sd_model
    if hasattr(model, "forge_objects"):
        return model.forge_objects.unet.model.diffusion_model
    return model.model.diffusion_model


class Hook(scripts.Script):
    def title(self) -> str:
        return "MSBD tests: hook"

    def show(self, is_img2img: bool) -> Any:
        return scripts.AlwaysVisible

    def process_before_every_sampling(self, p: Any, *args: Any, **given: Any) -> None:
        seen.hooks.append(
            {
                "size": [p.height, p.width],
                "picture": encoded(p.init_images[0]),
                "mask": encoded(p.image_mask),
                "latents": list(given["x"].shape),
                "noise": list(given["noise"].shape),
                "init_latent": list(p.init_latent.shape),
            }
        )
        if hasattr(p.sd_model, "forge_objects"):
            patched = p.sd_model.forge_objects.unet.clone()
            patched.set_model_unet_function_wrapper(self.wrapped)
            p.sd_model.forge_objects.unet = patched

    def wrapped(self, run: Any, given: dict[str, Any]) -> Any:
        seen.attached += 1
        return run(given["input"], given["timestep"], **given["c"])

    def postprocess(self, p: Any, processed: Any, *args: Any) -> None:
        seen.after = {
            "size": [p.height, p.width],
            "pictures": [[one.height, one.width] for one in p.init_images],
        }


def counted(*_: Any) -> None:
    seen.network += 1


def forget() -> dict[str, Any]:
    vars(seen).update(vars(Seen()))
    network = unet()
    if not getattr(network, "msbd_counted", False):
        network.msbd_counted = True
        network.register_forward_pre_hook(counted)
    return {}


def tell() -> dict[str, Any]:
    objects = getattr(shared.sd_model, "forge_objects", None)
    left = objects is not None and "model_function_wrapper" in objects.unet.model_options
    return {**asdict(seen), "attaches": objects is not None, "left": left}


def mount(_: Any, app: FastAPI) -> None:
    app.post("/msbd-hook/forget")(forget)
    app.get("/msbd-hook/seen")(tell)


script_callbacks.on_app_started(mount)
