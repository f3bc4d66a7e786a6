"""Files here and afar: local ones, fsspec's memory, a server's, and S3's by moto."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import pytest
from conftest import Desk, painted, save, speckles
from test_batch import QUICK, made, shop, table

from msbd.cli.batch import places
from msbd.errors import EditError

__all__ = ["shop"]


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a bucket of a server that is S3 but for its name."""
    pytest.importorskip("s3fs").S3FileSystem.clear_instance_cache()
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in (
        ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
        ("AWS_ACCESS_KEY_ID", "x"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    bucket = f"catalogue-{port}"
    fsspec.filesystem("s3").mkdir(bucket)
    yield f"s3://{bucket}"
    server.stop()


@pytest.fixture
def memory() -> Iterator[str]:
    yield "memory://catalogue"
    fsspec.filesystem("memory").store.clear()


@pytest.fixture(params=["memory", "s3"])
def store(request: pytest.FixtureRequest) -> str:
    """A folder afar."""
    return request.getfixturevalue(request.param)


def put(address: str, file: Path) -> str:
    with fsspec.open(f"{address}/{file.name}", "wb") as there:
        there.write(file.read_bytes())
    return f"{address}/{file.name}"


def test_what_is_put_there_is_had_here(store: str, tmp_path: Path) -> None:
    name = f"{store}/deep/a.bin"
    with places.there(name) as path:
        path.write_bytes(b"content")
    with places.here(name) as found:
        assert found.read_bytes() == b"content"
        assert found.suffix == ".bin"
    assert not found.exists()
    with pytest.raises(EditError, match="no file"), places.here(f"{store}/none.png"):
        pass


def test_what_goes_wrong_leaves_nothing_there(store: str) -> None:
    with pytest.raises(KeyError), places.there(f"{store}/half.bin") as path:
        path.write_bytes(b"ha")
        raise KeyError
    assert places.marks({f"{store}/half.bin"}) == {}


def test_marks_change_with_the_content(store: str, tmp_path: Path) -> None:
    here = tmp_path / "a.bin"
    for root in (store, str(tmp_path)):
        name = f"{root}/a.bin"
        seen = set()
        for content in (b"one", b"two!", b"four"):
            here.write_bytes(content)
            if root == store:
                put(store, here)
            mark = places.marks({name, f"{root}/none.bin"})
            assert set(mark) == {name} and mark == places.marks({name})
            assert mark[name].split(" ")[0] == str(len(content))
            seen.add(mark[name])
        assert len(seen) == 3


@pytest.mark.edits
def test_a_catalogue_afar(shop: Desk, store: str) -> None:
    """Pictures, masks and results are there; what is made is not made again."""
    rows = []
    for number in range(2):
        files = (shop.folder / f"{letter}{number}.png" for letter in "pm")
        image, mask = (put(store, file) for file in files)
        rows.append({"image": image, "mask": mask, "prompt": "a red star", "seed": number})
    path = shop.folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    results, manifest = shop.folder / "results.csv", put(store, path)
    where = "batch", manifest, "-o", f"{store}/out", "--results", results, *QUICK
    assert shop.msbd(*where) == 0, shop.stderr + results.read_text()
    assert shop.msbd("batch", path, "-o", shop.folder / "out", *QUICK) == 0
    for line in table(shop, results):
        with fsspec.open(line["output"], "rb") as there:
            content = there.read()
        assert content == (shop.folder / "out" / Path(line["output"]).name).read_bytes()
    assert shop.msbd(*where) == 0 and "2 of 2 made (0 now)" in shop.stdout
    mask = painted(40, 64, slice(4, 30), slice(20, 50))
    put(store, save(shop.folder / "m0.png", mask))
    assert shop.msbd(*where) == 0 and "2 of 2 made (1 now)" in shop.stdout
    assert shop.msbd("batch", path, "-o", f"{store}/out", *QUICK) == 2 and shop.refused("--results")


@pytest.mark.edits
def test_pictures_of_a_server(shop: Desk, tmp_path_factory: pytest.TempPathFactory) -> None:
    pytest.importorskip("aiohttp")
    folder = tmp_path_factory.mktemp("served")
    save(folder / "p.png", speckles(40, 64))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    root = f"http://127.0.0.1:{server.server_port}"
    rows = [
        {"image": f"{root}/{name}.png", "mask": "m0.png", "prompt": "a star", "seed": 1}
        for name in ("p", "none")
    ]
    path = shop.folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert shop.msbd("batch", path, "-o", shop.folder / "out", *QUICK) == 1
    good, gone = table(shop)
    assert not good["error"] and list(made(shop)) == ["p.png"]
    assert gone["error"] == f"there is no file {root}/none.png"
    server.shutdown()
    server.server_close()
    with pytest.raises(ConnectionError), places.here(f"{root}/p.png"):
        pass
