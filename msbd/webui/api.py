"""Routes of our own beside the host's API: what a request may say, and what it would do."""

from __future__ import annotations

import base64
import io
from secrets import compare_digest
from typing import Any

from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from modules import call_queue, sd_samplers, shared
from PIL import Image
from pydantic import BaseModel

from ..errors import EditError
from . import keeping
from .checking import check
from .dry_run import DryRun, dry_run
from .fields import chosen, rim_of, schema, with_the_hosts
from .hosts import which
from .hosts.checkpoint import loaded_model, same_model
from .inputs import prepared
from .options import defaults
from .panel.controls import upscaler_names

SCHEMA, PLAN, CHECK = "/msbd/v1/schema", "/msbd/v1/plan", "/msbd/v1/check"
KEPT = "/msbd/v1/edits/{edit_id}"

_HOST_DEFAULTS: dict[str, Any] = {
    "init_images": [],
    "mask_blur_x": 4,
    "mask_blur_y": 4,
    "mask_round": True,
    "inpainting_mask_invert": 0,
    "inpainting_fill": 0,
    "denoising_strength": 0.75,
    "prompt": "",
    "steps": 50,
    "sampler_index": "Euler",
    "batch_size": 1,
    "n_iter": 1,
    "script_args": [],
    "picture": False,
}
"""What the host takes for a field that is missing or null."""


class PlanRequest(BaseModel):
    """The part of a request to /sdapi/v1/img2img that a plan depends on.

    Names and defaults are the host's, and whatever else such a request holds is ignored, so that
    the same one can be sent here first. picture: whether to draw the plan.
    """

    init_images: list[str] | None = None
    mask: str | None = None
    mask_blur: int | None = None
    mask_blur_x: int | None = None
    mask_blur_y: int | None = None
    mask_round: bool | None = None
    inpainting_mask_invert: int | None = None
    inpainting_fill: int | None = None
    denoising_strength: float | None = None
    prompt: str | None = None
    steps: int | None = None
    sampler_name: str | None = None
    sampler_index: str | None = None
    scheduler: str | None = None
    batch_size: int | None = None
    n_iter: int | None = None
    script_args: list[Any] | None = None
    picture: bool | None = None

    def filled(self) -> dict[str, Any]:
        """The fields that are given, and the host's defaults for others."""
        return _HOST_DEFAULTS | {k: v for k, v in vars(self).items() if v is not None}


class CheckRequest(BaseModel):
    """presets: names of those to check; all without. upscaler: in place of the presets'."""

    presets: list[str] | None = None
    upscaler: str | None = None

    class Config:
        """Nothing else may be asked."""

        extra = "forbid"


def mount(blocks: Any, app: FastAPI) -> None:
    """Add the routes to the host's application, if it serves an API at all; for `on_app_started`.

    They ask for the same credentials as the host's own, and replace those of an earlier call.
    """
    options = shared.cmd_opts
    if not (options.api or options.nowebui):
        return
    guards = [Depends(_guard(options.api_auth))] if options.api_auth else []
    routes = app.router.routes
    ours = (SCHEMA, PLAN, CHECK, KEPT)
    routes[:] = [one for one in routes if getattr(one, "path", None) not in ours]
    app.add_api_route(SCHEMA, answer_schema, methods=["GET"], dependencies=guards)
    app.add_api_route(PLAN, answer_plan, methods=["POST"], dependencies=guards)
    app.add_api_route(CHECK, answer_check, methods=["POST"], dependencies=guards)
    app.add_api_route(KEPT, answer_kept, methods=["GET"], dependencies=guards)
    app.add_api_route(KEPT, answer_forget, methods=["DELETE"], dependencies=guards)


def answer_schema() -> dict[str, Any]:
    """JSON schema of the named fields in `script_args`, with their present defaults."""
    return schema(defaults(), upscaler_names())


def answer_plan(request: PlanRequest) -> dict[str, Any]:
    """What an img2img request with this script would do, and what it would take."""
    given = request.filled()
    try:
        with same_model():
            done = _planned(given)
    except EditError as error:
        raise HTTPException(status_code=422, detail=str(error)) from error
    answer = done.to_dict()
    return answer | {"picture": _encoded(done.picture)} if given["picture"] else answer


def answer_check(request: CheckRequest) -> dict[str, Any]:
    """The check of the installation, in the host's queue: the block of text, and all findings."""
    state = shared.state
    try:
        loaded_model()
        with call_queue.queue_lock:
            state.begin(job="msbd_check")
            try:
                examination, text = check(request.presets or (), request.upscaler)
            finally:
                state.end()
                shared.total_tqdm.clear()
    except EditError as error:
        raise HTTPException(status_code=422, detail=str(error)) from error
    return examination.to_dict() | {"text": text}


def answer_kept(edit_id: str) -> dict[str, Any]:
    """What is kept of an edit: its candidates, with numbers and scores, and finished stages."""
    try:
        return {"edit_id": edit_id, **keeping.store().open(edit_id).described()}
    except EditError as error:
        raise HTTPException(status_code=404, detail=str(error)) from error


def answer_forget(edit_id: str) -> dict[str, Any]:
    """Delete all that is kept of an edit."""
    try:
        keeping.store().forget(edit_id)
    except EditError as error:
        raise HTTPException(status_code=404, detail=str(error)) from error
    return {"edit_id": edit_id, "forgotten": True}


def _planned(request: dict[str, Any]) -> DryRun:
    choice = chosen(request["script_args"], defaults())
    blur = request.get("mask_blur", max(request["mask_blur_x"], request["mask_blur_y"]))
    pictures = [_decoded(one, "init_images") for one in request["init_images"]]
    mask = _decoded(request["mask"], "mask") if request.get("mask") else None
    inputs = prepared(
        pictures,
        mask,
        invert=bool(request["inpainting_mask_invert"]),
        round_mask=request["mask_round"],
        settings=choice.settings,
        rim=rim_of(choice.settings, blur),
    )
    size = request["batch_size"]
    settings = with_the_hosts(
        choice.settings,
        False,
        request["prompt"],
        steps=request["steps"],
        feather=blur,
        strength=request["denoising_strength"],
        masked_content=request["inpainting_fill"],
    )
    count = (len(pictures) if 1 < len(pictures) < size else size) * request["n_iter"]
    return dry_run(inputs, settings, sampler_name=_sampler(request), count=count)


def _sampler(request: dict[str, Any]) -> str:
    """The sampler's name."""
    name = request.get("sampler_name") or request["sampler_index"]
    name = which.sampler_of(name, request.get("scheduler"))
    if name not in sd_samplers.all_samplers_map:
        raise EditError(f"sampler_name: the WebUI has no sampler {name!r}")
    return name


def _decoded(text: str, field: str) -> Image.Image:
    """A picture of a request, by the host's own rules (it may be told to fetch addresses)."""
    from modules.api.api import decode_base64_to_image

    try:
        return decode_base64_to_image(text)
    except HTTPException as error:
        raise EditError(f"{field}: {error.detail}") from error


def _encoded(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _guard(api_auth: str) -> Any:
    """A dependency that lets pass whom the host's `--api-auth user:password,...` names."""
    known = [entry.partition(":")[::2] for entry in api_auth.split(",")]

    def check(credentials: HTTPBasicCredentials = Depends(HTTPBasic())) -> None:
        given = credentials.username.encode(), credentials.password.encode()
        passes = [
            compare_digest(given[0], user.encode()) & compare_digest(given[1], password.encode())
            for user, password in known
        ]
        if not any(passes):
            raise HTTPException(
                status_code=401,
                detail="Incorrect username or password",
                headers={"WWW-Authenticate": "Basic"},
            )

    return check
