"""Rows for running WebUIs: what is sent, what is answered, and when a WebUI is taken for gone."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Desk, load
from PIL import Image
from test_batch import four, manifest, table

from msbd.cli.batch import webuis

QUICK = ("--preset", "draft", "--set", "steps=2", "--quiet")


class Server(ThreadingHTTPServer):
    """Answers as a WebUI does, with pictures turned to grey where the mask is white.

    answers: of the next requests to img2img, instead: a status, or None for a closed connection.
    asked: what was sent. password: of its API.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[int | None] = []
        self.asked: list[dict[str, Any]] = []
        self.password = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def say(self, status: int, answer: Any) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def allowed(self) -> bool:
        named = base64.b64encode(f"ann:{self.server.password}".encode()).decode()
        if not self.server.password or self.headers["Authorization"] == f"Basic {named}":
            return True
        self.say(401, {"detail": "Not authenticated"})
        return False

    def do_GET(self) -> None:
        models = [
            {"title": f"{name}.ckpt [{name}]", "model_name": name, "hash": name, "sha256": None,
             "filename": f"C:\\models\\{name}.ckpt"}
            for name in ("one", "two")
        ]  # fmt: skip
        if self.allowed():
            self.say(200, models if self.path.endswith("sd-models") else {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.allowed():
            return
        self.server.asked.append(body)
        status = self.server.answers.pop(0) if self.server.answers else 200
        if status is None:
            self.close_connection = True
            return
        if status != 200:
            self.say(status, {"detail": "candidates must be less"} if status == 422 else "x")
            return
        picture, mask = (
            np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))
            for text in (body["init_images"][0], body["mask"])
        )
        file = io.BytesIO()
        Image.fromarray(np.where(mask[..., None] > 127, 128, picture)).save(file, "PNG")
        part = {"seam": {"figure": 0.5}}
        report = {"parts": [part], "interrupted": False, "notes": [], "seed": body["seed"]}
        info = {"msbd": [report], "sd_model_name": "one"}
        images = [base64.b64encode(file.getvalue()).decode()]
        self.say(200, {"images": images, "info": json.dumps(info)})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(webuis, "_STARTING", 0.5)
    monkeypatch.setattr(webuis, "_PAUSE", 0.1)
    made = Server()
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def shop(desk: Desk) -> Desk:
    for number in range(4):
        for letter, path in (("p", desk.image), ("m", desk.mask)):
            (desk.folder / f"{letter}{number}.png").write_bytes(path.read_bytes())
    return desk


def batch(shop: Desk, rows: list[dict[str, Any]], *urls: str, more: tuple[object, ...] = ()) -> int:
    named = [part for url in urls for part in ("--webui", url)]
    where = manifest(shop, rows), "-o", shop.folder / "out"
    return shop.msbd("batch", *where, *QUICK, *named, *more)


def test_the_request_says_what_the_row_says(shop: Desk, server: Server) -> None:
    rows = four()[:2]
    rows[0] |= {"margin": 2, "guidance": 5, "feather": 3, "negative": "a ring", "checkpoint": "two"}
    assert batch(shop, rows, server.url) == 0, table(shop)
    first, second = sorted(server.asked, key=lambda body: body["prompt"])
    (fields,) = first["script_args"]
    assert float(fields["margin"]) == 2 and "guidance" not in fields and fields["preset"] == "draft"
    assert (first["cfg_scale"], first["mask_blur"], first["steps"]) == (5, 3, 2)
    assert first["negative_prompt"] == "a ring" and first["prompt"] == "star 0"
    assert first["override_settings"] == {"sd_model_checkpoint": "two.ckpt [two]"}
    assert "override_settings" not in second and second["seed"] == 1
    made, before, mask = load(shop.folder / "out" / "p0.png"), load(shop.image), load(shop.mask)
    white = mask > 127
    assert (made[~white] == before[~white]).all() and (made[white] == 128).all()


@pytest.mark.parametrize(
    "more", [("--upscaler", "R-ESRGAN 4x+"), ("--set", "upscaler=R-ESRGAN 4x+"), ()]
)
def test_its_upscalers_are_its_own(shop: Desk, server: Server, more: tuple[str, ...]) -> None:
    """None of them is a file here."""
    rows = four()[:1]
    if not more:
        rows[0]["upscaler"] = "R-ESRGAN 4x+"
    assert batch(shop, rows, server.url, more=more) == 0, table(shop)
    assert server.asked[0]["script_args"][0]["upscaler"] == "R-ESRGAN 4x+"


@pytest.mark.parametrize("status", [401, 404, 502, 503, 504, None])
def test_a_webui_that_is_away_costs_no_row(shop: Desk, server: Server, status: int | None) -> None:
    server.answers = [200, status, status]
    assert batch(shop, four(), server.url) == 0, table(shop)
    assert len(server.asked) == 6 and not any(line["error"] for line in table(shop))


def test_what_is_refused_is_not_sent_again(shop: Desk, server: Server) -> None:
    server.answers = [422]
    assert batch(shop, four(), server.url) == 1
    told = [line["error"] for line in table(shop)]
    assert told == ["candidates must be less", "", "", ""] and len(server.asked) == 4


def test_a_checkpoint_it_lacks_is_refused(shop: Desk, server: Server) -> None:
    assert batch(shop, [{**four()[0], "checkpoint": "three"}], server.url) == 1
    assert "has no checkpoint three: it has one, two" in table(shop)[0]["error"]
    assert not server.asked


def test_a_password_is_used_and_never_told(shop: Desk, server: Server) -> None:
    server.password = "secret"
    assert batch(shop, four(), server.url) == 2 and shop.refused("give --auth")
    assert batch(shop, four()[:1], server.url, more=("--auth", "ann:secret")) == 0
    inside = server.url.replace("//", "//ann:secret@")
    rows = [*four()[:2], {**four()[2], "checkpoint": "three"}]
    assert batch(shop, rows, inside) == 1
    text = (shop.folder / "out" / "results.csv").read_text() + shop.stdout + shop.stderr
    assert "secret" not in text and "has no checkpoint three" in text


def test_where_nobody_answers_it_is_said_at_once(shop: Desk, server: Server) -> None:
    assert batch(shop, four(), server.url, "http://127.0.0.1:9") == 2
    assert shop.refused("http://127.0.0.1:9 does not answer") and not server.asked


def test_paint_cannot_be_sent(shop: Desk, server: Server) -> None:
    rows = [{**four()[0], "paint": "p1.png"}, {**four()[1], "sampler": "euler"}]
    assert batch(shop, rows, server.url) == 1
    told = [line["error"] for line in table(shop)]
    assert "paint cannot be sent" in told[0] and "leave it out with --webui" in told[1]


def test_the_same_rows_made_otherwise_are_made_again(shop: Desk, server: Server) -> None:
    assert batch(shop, four(), server.url) == 0
    assert batch(shop, four(), server.url) == 0 and len(server.asked) == 4
    assert batch(shop, four(), server.url, more=("--checkpoint", "one")) == 0
    assert len(server.asked) == 8
    assert Path(table(shop)[0]["output"]).exists()
