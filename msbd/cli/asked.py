"""What the options of a command line ask for."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from ..settings import EditSettings
from ..standalone import models
from .editing import Inputs, Outputs, Request, Say, completed, read_inputs, starting_recipe
from .recipe import Recipe


def request(arguments: Namespace, outputs: Outputs, note: Say) -> Request:
    """The edit that is asked for, its files read."""
    base = begun(arguments)
    chosen = models.choose(base.settings, arguments.checkpoint, arguments.clip, arguments.device)
    chosen = replace(chosen, offload=arguments.offload)
    recipe = completed(
        *(base, arguments.prompt, arguments.negative, arguments.seed, chosen.checkpoint.name),
        like=arguments.like is not None,
    )
    read = inputs(arguments, recipe.settings)
    outputs.check(read.picture, given(arguments))
    if base.model not in ("", recipe.model):
        note(f"note: {arguments.like} was made with {base.model}, this will differ")
    # What is decided is stored, so that who repeats it is asked for the same paint.
    decided = recipe.settings.decided(read.paint is not None, recipe.prompt)
    recipe = replace(recipe, settings=decided)
    return Request(read, recipe, chosen, outputs, arguments.quiet)


def begun(arguments: Namespace) -> Recipe:
    """The recipe as far as it is known without the prompt: settings by all options that say any."""
    said = {name: getattr(arguments, name, None) for name in ("upscaler", "start", "strength")}
    changes = [f"{name}={value}" for name, value in said.items() if value is not None]
    return starting_recipe(arguments.preset, arguments.like, [*arguments.changes, *changes])


def inputs(arguments: Namespace, settings: EditSettings) -> Inputs:
    image, mask, paint = arguments.image, arguments.mask, arguments.paint
    return read_inputs(image, mask, paint, settings, arguments.soft_mask)


def given(arguments: Namespace) -> tuple[Path, ...]:
    """The files that must not be replaced."""
    return tuple(filter(None, (arguments.image, arguments.mask, arguments.paint)))
