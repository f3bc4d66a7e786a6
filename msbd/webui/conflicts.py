"""What stands in the way of a good edit, in sentences that say what happens and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from modules import scripts

from ..errors import EditError
from .hosts import which
from .hosts.checkpoint import model_spec
from .hosts.hooks import takes_part
from .hosts.sampling import replaced_sampler
from .inputs import Inputs
from .without_effect import always_on_arguments, notes_on_options

_NEARLY_ALL = 0.95
_CONTROLNET = (
    "ControlNet guides every pass with the whole picture, though it shows only a part of it: turn "
    "its units off."
)
_MULTISTEP = ("2M", "3M", "LMS", "IPNDM", "DEIS", "Multistep", "Gradient", "ER SDE")


def conflicts(sampler_name: str, inputs: Inputs | None, p: Any = None) -> list[str]:
    """The notes that apply.

    inputs: None if they are not known yet. p: the host's request, if there is one. Never loads a
    checkpoint, so none of them may be about it if none is loaded.
    """
    notes = [*_about_the_model(sampler_name, inputs), *_about_the_sampler(sampler_name)]
    if inputs is not None and (inputs.mask > 0).mean() > _NEARLY_ALL:
        notes.append(
            "The mask covers nearly the whole picture, so there is little for the edit to match: "
            "mask less, or use plain img2img."
        )
    return [*notes, *notes_on_options(), *(_about_the_request(p) if p is not None else ())]


def _about_the_model(sampler_name: str, inputs: Inputs | None) -> Iterator[str]:
    model = which.loaded_model()
    if model is None:
        return
    try:
        side = model_spec(sampler_name).resolution
    except EditError as error:
        yield f"{error}."
        return
    if inputs is not None and inputs.size.shortest < side:
        yield (
            f"The picture is smaller than the {side} pixels the checkpoint was trained at: it is "
            "enlarged for the first stage, and the later ones have little or nothing to do."
        )
    autoencoder = which.networks(model).autoencoder
    if any(_is_replaced(autoencoder, name) for name in ("encoder", "decoder")):
        yield (
            "Tiled VAE is on. It is not needed, since large stages are decoded in tiles anyway, "
            "and has no part in decoder optimisation: turn it off."
        )


def _is_replaced(autoencoder: Any, name: str) -> bool:
    """Whether an extension put its own `forward` on the encoder or decoder."""
    part = vars(getattr(autoencoder, name, None) or object)
    return "original_forward" in part or "forward" in part


def of_repaint(sampler_name: str) -> str | None:
    """What RePaint takes from a sampler, for whoever may still choose another."""
    used, _ = replaced_sampler(sampler_name)
    if not any(kind in used for kind in _MULTISTEP):
        return None
    return (
        f"With each step repeated (RePaint), {used} cannot build on earlier steps: "
        "use Euler a, the paper's choice."
    )


def _about_the_sampler(sampler_name: str) -> Iterator[str]:
    _, note = replaced_sampler(sampler_name)
    if note:
        yield f"{note}."


def _about_the_request(p: Any) -> Iterator[str]:
    if getattr(p, "tiling", False):
        yield (
            "Tiling makes the network join opposite edges of every pass, which are not the "
            "picture's: turn it off."
        )
    if _uses_controlnet(p):
        yield _CONTROLNET


def of_other_scripts() -> Iterator[str]:
    """Before there is a request, which alone tells what a user does with them."""
    for script in getattr(scripts.scripts_img2img, "alwayson_scripts", None) or ():
        if script.title().lower() == "controlnet" and not takes_part(script):
            yield f"If one of its units is on, {_CONTROLNET}"


def _uses_controlnet(p: Any) -> bool:
    return any(_enabled(unit) for unit in always_on_arguments(p, "controlnet"))


def _enabled(unit: Any) -> bool:
    """ControlNet takes its units as objects, and from the API as dictionaries."""
    if isinstance(unit, dict):
        return bool(unit.get("enabled", True))
    return bool(getattr(unit, "enabled", False))
