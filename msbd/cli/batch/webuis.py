"""A running WebUI as a worker: its model, its cards, and its API."""

from __future__ import annotations

import base64
import io
import json
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import requests
from numpy.typing import NDArray
from PIL import Image
from requests.adapters import HTTPAdapter

from ...errors import EditError
from ...webui.fields import HOST_OWNED, TITLE
from .. import editing, saving
from . import places
from .rows import MODELS, Row, settings_of
from .work import Gone, Options, Outcome, failed, outcome_of, requested

_PATIENCE = 10.0
"""Seconds to wait for a connection; an edit may take as long as it likes."""
_STARTING, _PAUSE = 120.0, 5.0
"""Seconds that a WebUI may take to start again, and after which it is asked once more."""
_SAMPLER = "Euler a"
"""The WebUI's name of the command line's."""
_NOT_FIELDS = (*HOST_OWNED, "mask_shape", "grow")
"""What goes elsewhere: to the WebUI's own fields, or into the mask that is sent."""

_AWAY = (401, 404, 502, 503, 504)
"""What is answered in place of a WebUI that is gone, or was started otherwise meanwhile."""


class _KeptAlive(HTTPAdapter):
    """Connections that notice when the other machine is gone, however long an edit takes."""

    def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
        wished = {"SO_KEEPALIVE": 1, "TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 20, "TCP_KEEPCNT": 5}
        options = [
            (socket.SOL_SOCKET if name.startswith("SO") else socket.IPPROTO_TCP, number, value)
            for name, value in wished.items()
            if (number := getattr(socket, name, None)) is not None
        ]
        super().init_poolmanager(*arguments, socket_options=options, **named)


class WebUI:
    """Sends rows to one WebUI that runs with --api, and has this extension.

    url: its address. auth: `user:password` of its --api-auth. A row's checkpoint is one of the
    WebUI's, by its name there.
    """

    def __init__(self, url: str, auth: str | None, options: Options) -> None:
        parts = urlsplit(url.rstrip("/"))
        user, _, host = parts.netloc.rpartition("@")
        # What is told of it must not tell the password.
        self._url, self._options = parts._replace(netloc=host).geturl(), options
        self._session = requests.Session()
        self._session.mount("http", _KeptAlive())
        if auth or user:
            name, _, password = (auth or unquote(user)).partition(":")
            self._session.auth = name, password

    def ready(self) -> None:
        deadline = time.monotonic() + _STARTING
        while True:
            try:
                return self.check()
            except Gone:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE)

    def check(self) -> None:
        """Raise `Gone` unless it is there and takes requests."""
        try:
            answer = self._session.get(f"{self._url}/msbd/v1/schema", timeout=_PATIENCE)
        except requests.RequestException as error:
            raise Gone(f"{self._url} does not answer: {error}") from None
        if not answer.ok:
            raise Gone(f"{self._url}: {_reason(answer)}")

    def perform(self, row: Row) -> Outcome:
        began = time.monotonic()
        try:
            with places.there(row.values["output"]) as out:
                given, answer = self._edited(row, out)
                size = out.stat().st_size
        except Gone:
            raise
        except Exception as error:
            return failed(row, error, time.monotonic() - began)
        report = answer["msbd"][0]
        return outcome_of(row, report, time.monotonic() - began, size, given.inputs.notes)

    def _edited(self, row: Row, out: Path) -> tuple[editing.Request, dict[str, Any]]:
        """What was asked for, and what the WebUI says of its picture, which is written."""
        plain = {name: value for name, value in row.values.items() if name not in MODELS}
        changes = [
            one for one in self._options.changes if one.partition("=")[0].strip() not in MODELS
        ]
        options = replace(self._options, checkpoint=None, upscaler=None, changes=tuple(changes))
        with requested(replace(row, values=plain), options, "cpu", out) as request:
            answer = self._asked(self._body(row, request))
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["images"][0]))))
        info: dict[str, Any] = json.loads(answer["info"])
        seed = info["msbd"][0]["seed"]
        recipe = replace(request.recipe, seed=seed, model=info.get("sd_model_name", ""))
        edited = editing.in_its_colours(request, np.ascontiguousarray(pixels[..., :3]))
        saving.save_picture(out, edited, request.inputs.picture, recipe)
        return request, info

    def _body(self, row: Row, request: editing.Request) -> dict[str, Any]:
        """The request to img2img."""
        settings, inputs = request.settings, request.inputs
        if inputs.paint is not None:
            raise EditError("paint cannot be sent to a WebUI: leave the column out")
        said = editing.assigned([*self._options.changes, *settings_of(row.values)])
        for name in ("upscaler", "start", "strength"):
            value = row.values.get(name) or getattr(self._options, name)
            said |= {name: value} if value else {}
        if "sampler" in said:
            raise EditError("sampler is the command line's own: leave it out with --webui")
        fields = {name: value for name, value in said.items() if name not in _NOT_FIELDS}
        chosen = row.values.get("preset") or self._options.preset
        body = {
            "init_images": [_encoded(inputs.picture.srgb)],
            "mask": _encoded((255 * inputs.mask).round().astype(np.uint8)),
            "mask_round": not self._options.soft_mask,
            "prompt": request.recipe.prompt,
            "negative_prompt": request.recipe.negative,
            "seed": request.recipe.seed,
            "script_name": TITLE,
            "script_args": [{"preset": chosen, **fields} if chosen else fields],
            "sampler_name": _SAMPLER,
        }
        owned = {ours: theirs for ours, theirs in HOST_OWNED.items() if ours != "sampler"}
        body |= {theirs: getattr(settings, ours) for ours, theirs in owned.items()}
        checkpoint = row.values.get("checkpoint") or self._options.checkpoint
        if checkpoint:
            body["override_settings"] = {"sd_model_checkpoint": self._known(checkpoint)}
        return body

    def _known(self, checkpoint: str) -> str:
        """The WebUI's own name of a checkpoint; it would take another one for a name it lacks."""
        try:
            address = f"{self._url}/sdapi/v1/sd-models"
            known = self._session.get(address, timeout=_PATIENCE).json()
        except (requests.RequestException, ValueError) as error:
            raise Gone(f"{self._url}: {error}") from None
        for one in known:
            file = Path(one["filename"].replace("\\", "/"))
            names = {one["title"], one["model_name"], one["hash"], one["sha256"], file.name}
            if checkpoint in names or Path(checkpoint).name == file.name:
                return str(one["title"])
        there = ", ".join(one["model_name"] for one in known)
        raise EditError(f"{self._url} has no checkpoint {checkpoint}: it has {there}")

    def _asked(self, body: dict[str, Any]) -> dict[str, Any]:
        try:
            address = f"{self._url}/sdapi/v1/img2img"
            answer = self._session.post(address, json=body, timeout=(_PATIENCE, None))
        except requests.RequestException as error:
            raise Gone(f"{self._url}: {error}") from None
        if answer.ok:
            found: dict[str, Any] = answer.json()
            return found
        if answer.status_code in _AWAY:
            raise Gone(f"{self._url}: {_reason(answer)}")
        reason = _reason(answer)
        if "memory" in reason.lower():
            raise MemoryError(reason)
        raise EditError(reason)


def _encoded(pixels: NDArray[np.uint8]) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return base64.b64encode(file.getvalue()).decode("ascii")


def _reason(answer: requests.Response) -> str:
    """Why a WebUI refuses."""
    if answer.status_code == requests.codes.not_found:
        return "there is no such extension, or the WebUI runs without --api"
    if answer.status_code == requests.codes.unauthorized:
        return "name and password of its --api-auth are needed: give --auth USER:PASSWORD"
    try:
        said = answer.json()
        return str(said.get("detail") or said.get("errors") or said)
    except (ValueError, AttributeError):
        return f"status {answer.status_code}"
