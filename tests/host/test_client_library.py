"""The `webuiapi` package, as people use it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from .client import QUICK, TITLE, Scene, edited
from .server import Webui

webuiapi = pytest.importorskip("webuiapi", reason="pip install webuiapi")


def test_img2img_with_the_script(webui: Webui, small: Scene) -> None:
    api = webuiapi.WebUIApi(host="127.0.0.1", port=webui.port)
    result = api.img2img(
        images=[Image.fromarray(small.picture)],
        mask_image=Image.fromarray(small.mask),
        prompt="a red star",
        seed=1,
        steps=4,
        cfg_scale=6,
        sampler_name="Euler a",
        mask_blur=4,
        width=256,
        height=208,
        script_name=TITLE,
        script_args=[QUICK],
    )
    picture = np.asarray(result.image.convert("RGB"))
    assert small.is_edited(picture)
    assert (picture == edited(webui, small).picture).all()
    assert result.info["msbd"][0]["outside_max_difference"] == 0


def test_a_refusal_is_readable(webui: Webui, small: Scene) -> None:
    api = webuiapi.WebUIApi(host="127.0.0.1", port=webui.port)
    with pytest.raises(RuntimeError, match="candidates"):
        api.img2img(
            images=[Image.fromarray(small.picture)],
            mask_image=Image.fromarray(small.mask),
            script_name=TITLE,
            script_args=[{"candidates": 99}],
        )
