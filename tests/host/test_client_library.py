"""The `webuiapi` package, as people use it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from .client import QUICK, TITLE, Scene, edited
from .server import Webui

webuiapi = pytest.importorskip("webuiapi", reason="pip install webuiapi")


def asked(api: Any, subject: Scene, prompt: str = "a red star", **fields: Any) -> Any:
    """A quick edit; the extension's fields."""
    return api.img2img(
        images=[Image.fromarray(subject.picture)],
        mask_image=Image.fromarray(subject.mask),
        prompt=prompt,
        seed=1,
        steps=4,
        cfg_scale=6,
        sampler_name="Euler a",
        mask_blur=4,
        width=256,
        height=208,
        script_name=TITLE,
        script_args=[{**QUICK, **fields}],
    )


def test_img2img_with_the_script(webui: Webui, small: Scene) -> None:
    result = asked(webuiapi.WebUIApi(host="127.0.0.1", port=webui.port), small)
    picture = np.asarray(result.image.convert("RGB"))
    assert small.is_edited(picture)
    assert (picture == edited(webui, small).picture).all()
    assert result.info["msbd"][0]["outside_max_difference"] == 0


def test_an_edit_is_chosen_and_gone_on_with(webui: Webui, small: Scene) -> None:
    """Candidates, then the second of them, then its last stage again, and it is forgotten."""
    api = webuiapi.WebUIApi(host="127.0.0.1", port=webui.port)
    made = asked(api, small, candidates=3, candidates_only=True)
    edit_id = made.info["msbd"][0]["edit_id"]
    assert len(made.images) == 4
    second = asked(api, small, candidates=3, edit_id=edit_id, candidate="2")
    assert second.info["msbd"][0]["parts"][0]["chosen"] == 1
    stages = len(second.info["msbd"][0]["stages"])
    again = {"candidates": 3, "edit_id": edit_id, "continue_from": stages}
    redone = asked(api, small, "a blue ring", **again)
    pictures = [np.asarray(one.image.convert("RGB")) for one in (second, redone)]
    assert all(map(small.is_edited, pictures)) and (pictures[0] != pictures[1]).any()
    route = f"http://127.0.0.1:{webui.port}/msbd/v1/edits/{edit_id}"
    assert api.session.get(route).json()["finished"]
    assert api.session.delete(route).json()["forgotten"]


def test_a_refusal_is_readable(webui: Webui, small: Scene) -> None:
    api = webuiapi.WebUIApi(host="127.0.0.1", port=webui.port)
    with pytest.raises(RuntimeError, match="candidates"):
        api.img2img(
            images=[Image.fromarray(small.picture)],
            mask_image=Image.fromarray(small.mask),
            script_name=TITLE,
            script_args=[{"candidates": 99}],
        )
