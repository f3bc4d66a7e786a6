"""Our routes beside the host's API, over HTTP, on the stand-in of the WebUI."""

from __future__ import annotations

import base64
import io
import json
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from PIL import Image
from standin import Host, installed
from standin.desk import QUICK, mask_of, photograph

fastapi = pytest.importorskip("fastapi")
testclient = pytest.importorskip("fastapi.testclient")
pytest.importorskip("fastapi.security")

_REAL = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "fastapi"}
"""The stand-in has a small package of this name."""

SCHEMA, PLAN, EDITS = "/msbd/v1/schema", "/msbd/v1/plan", "/msbd/v1/edits"
BOX = (slice(20, 50), slice(30, 66))


@pytest.fixture
def host() -> Iterator[Host]:
    with installed() as started:
        sys.modules.update(_REAL)
        components = ModuleType("modules.ui_components")
        components.FormRow = None
        api = ModuleType("modules.api.api")
        api.decode_base64_to_image = decoded
        package = ModuleType("modules.api")
        package.api = api
        for module in (components, package, api):
            sys.modules[module.__name__] = module
        started.shared.cmd_opts.api = True
        started.shared.cmd_opts.nowebui = False
        yield started


def decoded(text: str) -> Image.Image:
    """As the host does, which may fetch addresses if its options let it; here they do not."""
    if text.startswith("http"):
        raise fastapi.HTTPException(status_code=500, detail="Requests not allowed")
    try:
        return Image.open(io.BytesIO(base64.b64decode(text.rpartition(",")[2])))
    except Exception as error:
        raise fastapi.HTTPException(status_code=500, detail="Invalid encoded image") from error


def encoded(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def client(times: int = 1) -> Any:
    from msbd.webui import api

    app = fastapi.FastAPI()
    for _ in range(times):
        api.mount(None, app)
    return testclient.TestClient(app)


def body(**changes: Any) -> dict[str, Any]:
    """What a client would post to /sdapi/v1/img2img, and more than we look at."""
    return {
        "prompt": "a red star",
        "init_images": [encoded(photograph(70, 96))],
        "mask": "data:image/png;base64," + encoded(mask_of((70, 96), BOX)),
        "mask_blur": 2,
        "steps": 4,
        "cfg_scale": 4,
        "sampler_name": "Euler a",
        "denoising_strength": 0.75,
        "override_settings": {"CLIP_stop_at_last_layers": 2},
        "alwayson_scripts": {},
        "script_name": "multi-stage blended diffusion",
        "script_args": [QUICK],
    } | changes


class TestSchema:
    def test_it_names_every_field_with_its_present_default(self, host):
        from msbd.webui.fields import FIELDS, THIS_RUN

        host.shared.opts.msbd_preset, host.shared.opts.msbd_tile_size = "fast", 2.0
        reply = client().get(SCHEMA)
        assert reply.status_code == 200
        found = reply.json()["properties"]
        assert tuple(found) == (*FIELDS, *THIS_RUN)
        defaults = {name: found[name]["default"] for name in ("preset", "candidates", "tile_size")}
        assert defaults == {"preset": "fast", "candidates": 3, "tile_size": 2.0}

    def test_the_upscalers_are_the_hosts(self, host):
        names = client().get(SCHEMA).json()["properties"]["upscaler"]["enum"]
        assert {"R-ESRGAN 4x+", "Lanczos", "Bilinear"} <= set(names)


class TestPlan:
    def test_a_request_for_an_edit_is_planned(self, host):
        from msbd.webui import dry_run
        from msbd.webui.fields import chosen, with_the_hosts
        from msbd.webui.inputs import prepared
        from msbd.webui.options import defaults

        reply = client().post(PLAN, json=body(batch_size=2, n_iter=3))
        assert reply.status_code == 200, reply.text
        answer = reply.json()
        expected = dry_run.dry_run(
            prepared([photograph(70, 96)], mask_of((70, 96), BOX), invert=False),
            with_the_hosts(
                chosen([QUICK], defaults()).settings,
                *(False, body().get("prompt", "")),
                steps=4,
                feather=2,
                strength=0.75,
                masked_content=0,
            ),
            sampler_name="Euler a",
            count=6,
        ).to_dict()
        assert answer == json.loads(json.dumps(expected))
        assert answer["count"] == 6 and "picture" not in answer

    def test_the_drawing_comes_if_asked_for(self, host):
        answer = client().post(PLAN, json=body(picture=True)).json()
        picture = Image.open(io.BytesIO(base64.b64decode(answer["picture"])))
        assert picture.format == "PNG" and picture.width == 1200

    def test_what_is_missing_or_null_has_the_hosts_defaults(self, host):
        names = ("mask_blur", "steps", "sampler_name", "script_args")
        without = {name: value for name, value in body().items() if name not in names}
        nulls = body(**dict.fromkeys(names), batch_size=None, n_iter=None, picture=None)
        first, second = (client().post(PLAN, json=one).json() for one in (without, nulls))
        assert first["settings"] == second["settings"]
        assert (first["settings"]["steps"], first["settings"]["feather"]) == (50, 4)
        assert first["settings"]["candidates"] == 5

    def test_blur_by_axis_is_the_larger_one(self, host):
        given = body(mask_blur=None, mask_blur_x=3, mask_blur_y=9)
        assert client().post(PLAN, json=given).json()["settings"]["feather"] == 9

    def test_an_inverted_mask(self, host):
        assert client().post(PLAN, json=body(inpainting_mask_invert=1)).json()["mask"] == {
            "top": 0, "left": 0, "bottom": 70, "right": 96}  # fmt: skip

    def test_positional_arguments(self, host):
        answer = client().post(PLAN, json=body(script_args=["draft", 7])).json()
        assert answer["settings"]["candidates"] == 7

    def test_a_schedule_at_the_end_of_the_samplers_name(self, host):
        given = body(sampler_name="DPM++ 2M Karras")
        assert "DPM++ 2M cannot" in client().post(PLAN, json=given).json()["text"]

    def test_fewer_pictures_than_the_batch_has_places(self, host):
        two = [encoded(photograph(70, 96, seed)) for seed in (1, 2)]
        assert client().post(PLAN, json=body(init_images=two, batch_size=3)).json()["count"] == 2

    @pytest.mark.parametrize(
        ("changes", "word"),
        [
            ({"init_images": []}, "picture"),
            ({"mask": None}, "mask"),
            ({"mask": encoded(mask_of((70, 96), (slice(0, 0), slice(0, 0))))}, "empty"),
            ({"mask": "nonsense"}, "mask: Invalid"),
            ({"init_images": ["http://example.com/a.png"]}, "init_images: Requests not allowed"),
            ({"script_args": [{"candidat": 3}]}, "candidat"),
            ({"script_args": [{"candidates": 99}]}, "candidates"),
            ({"script_args": [{"steps": 9}]}, "steps"),
            ({"script_args": [{"upscaler": "Nonesuch"}]}, "Nonesuch"),
            ({"steps": 500}, "steps"),
        ],
        ids=str,
    )
    def test_what_an_edit_would_refuse_is_refused_in_words(self, host, changes, word):
        reply = client().post(PLAN, json=body(**changes))
        assert reply.status_code == 422
        assert word in reply.json()["detail"]

    def test_an_unknown_sampler(self, host, monkeypatch):
        """The host up to 1.8 has no way to take names apart."""
        monkeypatch.delattr(host.sd_samplers, "get_sampler_and_scheduler")
        reply = client().post(PLAN, json=body(sampler_name="Nonesuch"))
        assert reply.status_code == 422 and "sampler_name" in reply.json()["detail"]
        assert client().post(PLAN, json=body()).status_code == 200

    def test_values_of_another_kind(self, host):
        reply = client().post(PLAN, json=body(steps="many"))
        assert reply.status_code == 422 and "steps" in reply.text

    def test_it_does_not_wait_for_the_hosts_generation(self, host):
        with host.call_queue.queue_lock:
            assert client().post(PLAN, json=body()).status_code == 200
        assert not host.calls


class TestMounting:
    def test_without_the_hosts_api_there_is_none_of_ours(self, host):
        host.shared.cmd_opts.api = False
        assert client().get(SCHEMA).status_code == 404
        host.shared.cmd_opts.nowebui = True
        assert client().get(SCHEMA).status_code == 200

    def test_mounting_again_replaces(self, host):
        again = client(times=3)
        paths = [getattr(route, "path", "") for route in again.app.router.routes]
        assert paths.count(SCHEMA) == paths.count(PLAN) == 1
        assert again.get(SCHEMA).status_code == again.post(PLAN, json=body()).status_code == 200

    def test_they_are_in_the_hosts_documentation(self, host):
        described = client().get("/openapi.json").json()
        assert {SCHEMA, PLAN} <= set(described["paths"])
        fields = described["components"]["schemas"]["PlanRequest"]["properties"]
        assert {"init_images", "mask", "script_args", "picture"} <= set(fields)

    @pytest.mark.parametrize(
        ("auth", "status"),
        [
            (("ann", "secret"), 200),
            (("bob", "password"), 200),
            (("ann", "password"), 401),
            (("ann", ""), 401),
            (("eve", "secret"), 401),
            (("änn", "secret"), 401),
            (None, 401),
        ],
        ids=str,
    )
    def test_the_hosts_credentials_are_asked_for(self, host, auth, status):
        host.shared.cmd_opts.api_auth = "ann:secret,bob:password"
        guarded = client()
        header = {}
        if auth is not None:
            word = base64.b64encode(":".join(auth).encode()).decode()
            header = {"Authorization": f"Basic {word}"}
        for reply in (
            guarded.get(SCHEMA, headers=header),
            guarded.post(PLAN, json=body(), headers=header),
        ):
            assert reply.status_code == status
            assert status == 200 or reply.headers["WWW-Authenticate"].startswith("Basic")


class TestKeptEdits:
    def kept(self, host: Host) -> str:
        """The id of an edit of which there are candidates."""
        from msbd.webui.keeping import store

        folder = store().new({"version": "0"})
        made = {"first": 0, "count": 2, "scores": [0.5, 0.25], "chosen": 0, "finished": True}
        folder.facts["parts"] = [{"candidates": made, "stages": []}]
        folder.save()
        return folder.path.name

    def test_they_are_told_and_forgotten(self, host):
        edit_id = self.kept(host)
        told = client().get(f"{EDITS}/{edit_id}").json()
        assert told["edit_id"] == edit_id and not told["finished"] and told["bytes"] > 100
        candidates = told["parts"][0]["candidates"]
        assert candidates["numbers"] == [1, 2] and candidates["scores"] == [0.5, 0.25]
        assert client().delete(f"{EDITS}/{edit_id}").json()["forgotten"]
        assert client().get(f"{EDITS}/{edit_id}").status_code == 404

    @pytest.mark.parametrize("name", ["x", "..%2f..%2fetc", "A" * 32, "0" * 32, "%00", "é"])
    def test_what_is_no_id_is_not_found(self, host, name):
        for method in ("get", "delete"):
            answer = client().request(method, f"{EDITS}/{name}")
            assert answer.status_code == 404

    def test_they_ask_for_the_hosts_credentials(self, host):
        host.shared.cmd_opts.api_auth = "me:secret"
        edit_id = self.kept(host)
        for method in ("get", "delete"):
            assert client().request(method, f"{EDITS}/{edit_id}").status_code == 401
        assert client().get(f"{EDITS}/{edit_id}", auth=("me", "secret")).status_code == 200
