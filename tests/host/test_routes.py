"""/msbd/v1: the schema and the dry run; and the WebUI's own auth on everything."""

from __future__ import annotations

from typing import Any

import pytest

from msbd.settings import SETTINGS
from msbd.webui.fields import FIELDS, THIS_RUN, TITLE

from .client import QUICK, Scene, decoded, edited
from .conftest import Start
from .server import Webui
from .watching import Once, in_stage, watched


def test_the_schema_names_every_field(webui: Webui) -> None:
    reply = webui.get("/msbd/v1/schema")
    assert reply.status == 200, reply.reason
    schema = reply.json
    assert list(schema["properties"]) == [*FIELDS, *THIS_RUN]
    assert schema["additionalProperties"] is False
    for name, found in schema["properties"].items():
        assert found["description"] and "default" in found
        if name in SETTINGS and SETTINGS[name].high is not None:
            assert found["maximum"] == SETTINGS[name].high
    assert "R-ESRGAN 4x+" in schema["properties"]["upscaler"]["enum"]


def test_the_schemas_defaults_are_a_request(webui: Webui, small: Scene) -> None:
    schema = webui.get("/msbd/v1/schema").json
    fields = {name: found["default"] for name, found in schema["properties"].items()}
    quick = fields | {"candidates": 1, "resampling_steps": 0, "decoder": "off"}
    assert small.is_edited(edited(webui, small, quick).picture)


def test_the_plan_is_what_is_then_done(webui: Webui, small: Scene) -> None:
    body = small.request()
    reply = webui.post("/msbd/v1/plan", body)
    assert reply.status == 200, reply.reason
    done = edited(webui, small).report
    assert reply.json["settings"] == done["settings"] | _owned(reply.json["settings"])
    assert {name: reply.json[name] for name in done["plan"]} == done["plan"]
    assert reply.json["estimate"]["memory_bytes"] > 0 and reply.json["count"] == 1
    assert reply.json["text"].startswith(reply.json["headline"])


def _owned(settings: dict[str, Any]) -> dict[str, Any]:
    """What an edit's report has under "host" instead."""
    return {name: settings[name] for name in ("sampler", "guidance") if name in settings}


def test_the_plan_can_be_drawn(webui: Webui, small: Scene) -> None:
    reply = webui.post("/msbd/v1/plan", small.request(picture=True))
    drawn = decoded(reply.json["picture"])
    assert min(drawn.shape[:2]) > 256 and drawn.std() > 10
    assert "picture" not in webui.post("/msbd/v1/plan", small.request()).json


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"script_args": [{"candidat": 1}]}, "candidat"),
        ({"script_args": [{"candidates": 99}]}, "candidates"),
        ({"mask": None}, "mask"),
    ],
    ids=str,
)
def test_the_plan_refuses_what_an_edit_refuses(
    webui: Webui, small: Scene, change: dict[str, object], word: str
) -> None:
    reply = webui.post("/msbd/v1/plan", small.request() | change)
    assert reply.status == 422 and word in reply.reason


def test_the_host_lists_the_script(webui: Webui) -> None:
    scripts = webui.get("/sdapi/v1/scripts").json
    assert TITLE.lower() in scripts["img2img"] and TITLE.lower() not in scripts["txt2img"]


def test_the_name_may_be_written_in_any_case(webui: Webui, small: Scene) -> None:
    assert small.is_edited(edited(webui, small, script_name=TITLE.lower()).picture)


def test_a_plan_while_an_edit_runs_does_not_disturb_it(webui: Webui, small: Scene) -> None:
    usual = edited(webui, small, steps=20)
    replies = []
    once = Once(in_stage(1), lambda: replies.append(webui.post("/msbd/v1/plan", small.request())))
    reply, _ = watched(webui, small.request(steps=20), once)
    assert reply.status == replies[0].status == 200
    assert (decoded(reply.json["images"][0]) == usual.picture).all()


def test_api_auth_is_asked_everywhere(start: Start, small: Scene) -> None:
    webui = start("--api-auth", "ann:secret", auth=("ann", "secret"))
    try:
        assert webui.get("/msbd/v1/schema").status == 200
        assert webui.post("/msbd/v1/plan", small.request()).status == 200
        assert small.is_edited(edited(webui, small, QUICK).picture)
        for wrong in (None, ("ann", "wrong"), ("bob", "secret")):
            webui.auth = wrong
            assert webui.get("/msbd/v1/schema").status == 401
            assert webui.post("/msbd/v1/plan", small.request()).status == 401
    finally:
        webui.stop()
