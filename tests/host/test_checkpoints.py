"""Other kinds of checkpoints: one that reads the mask, one that predicts v."""

from __future__ import annotations

import numpy as np
import pytest

from . import models
from .client import QUICK, Scene, edited
from .server import Webui


@pytest.mark.parametrize("sampler", ["Euler a", "DPM++ 2M"])
def test_an_inpainting_checkpoint(webui: Webui, small: Scene, sampler: str) -> None:
    """Its additional channels weigh nothing here, so it must paint what the plain one paints."""
    fields = {**QUICK, "candidates": 2, "resampling_steps": 1}
    plain = edited(webui, small, fields, sampler_name=sampler)
    chosen = {"sd_model_checkpoint": models.INPAINTING}
    other = edited(webui, small, fields, sampler_name=sampler, override_settings=chosen)
    assert small.is_edited(other.picture)
    assert np.abs(plain.picture.astype(int) - other.picture).max() <= 1


def test_a_checkpoint_that_predicts_v(webui: Webui, small: Scene) -> None:
    chosen = {"sd_model_checkpoint": models.VELOCITY}
    answer = edited(webui, small, override_settings=chosen)
    assert small.is_edited(answer.picture)
    plain = edited(webui, small, override_settings={"sd_model_checkpoint": models.PERTURBED})
    assert (answer.picture != plain.picture).any(), "the same weights, read as v"


def test_the_training_resolution_is_the_checkpoints(webui: Webui, small: Scene) -> None:
    assert edited(webui, small).report["plan"]["resolution"] == 128
    larger = edited(webui, small, override_settings={"msbd_resolution": 192})
    assert larger.report["plan"]["resolution"] == 192
    assert small.is_edited(larger.picture)
