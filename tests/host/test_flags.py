"""The WebUI's flags for little memory and for precision.

Half precision needs a GPU: on a CPU the WebUI itself cannot load a model so.
"""

from __future__ import annotations

import numpy as np
import pytest

from . import models
from .client import Scene, edited, painted
from .conftest import Start
from .server import WHOLE_PRECISION, Webui
from .test_left_alone import SWIFT, WHOLE, failing, unchanged


@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        (("--medvram",), WHOLE_PRECISION),
        (("--lowvram",), WHOLE_PRECISION),
        ((), ("--no-half",)),
    ],
    ids=["medvram", "lowvram", "no-half"],
)
def test_flags(
    webui: Webui, start: Start, small: Scene, flags: tuple[str, ...], precision: tuple[str, ...]
) -> None:
    usual = edited(webui, small, WHOLE).picture.astype(int)
    other = start(*flags, precision=precision)
    try:
        with unchanged(other):
            answer = edited(other, small, WHOLE)
            assert small.is_edited(answer.picture)
            with failing(other, "denoise", "error", 3):
                assert other.post("/sdapi/v1/img2img", small.request(SWIFT)).status == 500
            with failing(other, "encode", "oom", 1):
                assert other.post("/sdapi/v1/img2img", small.request()).status == 422
        inside = small.mask > 0
        assert np.abs(answer.picture - usual)[inside].mean() < 12, "about the same picture"
        change = {"sd_model_checkpoint": models.PERTURBED}
        assert small.is_edited(edited(other, small, override_settings=change).picture)
        assert painted(other).std() > 5
    finally:
        other.stop()
