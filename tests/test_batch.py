"""Many edits by one command: each as `msbd edit` makes it, once, whatever happens."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Desk, Model, load, painted, save, speckles
from PIL import Image

from msbd.cli.batch import run
from msbd.cli.batch.crews import Crew, Threads
from msbd.cli.batch.rows import Row
from msbd.cli.batch.table import Table, recipes
from msbd.cli.batch.work import Editor, Options
from msbd.cli.recipe import read_recipe
from msbd.standalone import models

QUICK = ("--set", "steps=2", "--set", "candidates=1", "--set", "resampling_steps=0", "--quiet")


@pytest.fixture
def shop(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A desk whose worker is here, with the model that is instant."""

    def crew(batch: run.Batch, rows: int, write: Any) -> Crew:
        return Threads([partial(Editor, batch.options, batch.device)])

    monkeypatch.setattr(run, "_crew", crew)
    for number in range(4):
        save(desk.folder / f"p{number}.png", speckles(40 + 8 * number, 64))
        mask = painted(40 + 8 * number, 64, slice(10, 30), slice(8 + number, 40))
        save(desk.folder / f"m{number}.png", mask)
    return desk


def manifest(shop: Desk, rows: list[dict[str, Any]]) -> Path:
    path = shop.folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def four(**more: Any) -> list[dict[str, Any]]:
    return [
        {"image": f"p{n}.png", "mask": f"m{n}.png", "prompt": f"star {n}", "seed": n, **more}
        for n in range(4)
    ]


def batch(shop: Desk, rows: list[dict[str, Any]], *more: object) -> int:
    where = "-o", shop.folder / "out"
    return shop.msbd("batch", manifest(shop, rows), *where, *QUICK, *more)


def table(shop: Desk, path: Path | None = None) -> list[dict[str, str]]:
    with (path or shop.folder / "out" / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def made(shop: Desk) -> dict[str, int]:
    """When each output was written, in nanoseconds."""
    return {path.name: path.stat().st_mtime_ns for path in (shop.folder / "out").glob("*.png")}


@pytest.mark.edits
def test_each_row_is_what_edit_makes_of_it(shop: Desk) -> None:
    rows = four()
    rows[1] |= {"margin": 2, "negative": "a ring", "output": "deep/one.webp"}
    rows[2] |= {"preset": "draft", "texture": 0, "candidate": 2}
    rows[3] |= {"paint": "p3.png", "strength": 0.5, "mask_shape": "filled"}
    assert batch(shop, rows) == 0, shop.stderr
    assert "4 of 4 made (4 now), 0 failed" in shop.stdout
    for row, line in zip(rows, table(shop), strict=True):
        named = {name: row.pop(name) for name in ("image", "mask", "prompt", "seed")}
        files = shop.folder / named["image"], shop.folder / named["mask"]
        options: list[object] = ["--seed", named["seed"]]
        if "paint" in row:
            options += ["--paint", shop.folder / row.pop("paint")]
        for name in ("preset", "negative"):
            options += [f"--{name}", row.pop(name)] if name in row else []
        out = shop.folder / f"alone{Path(row.pop('output', 'x.png')).suffix}"
        options += [part for name, value in row.items() for part in ("--set", f"{name}={value}")]
        assert shop.msbd("edit", *files, named["prompt"], "-o", out, *QUICK, *options) == 0
        assert out.read_bytes() == Path(line["output"]).read_bytes()
        assert int(line["bytes"]) == out.stat().st_size and int(line["seed"]) == named["seed"]


@pytest.mark.edits
def test_all_pictures_of_a_folder(shop: Desk) -> None:
    for folder, letter in (("photos", "p"), ("masks", "m")):
        for number in range(3):
            place = shop.folder / folder / f"{number}.png"
            place.parent.mkdir(exist_ok=True)
            place.write_bytes((shop.folder / f"{letter}{number}.png").read_bytes())
    where = shop.folder / "photos", shop.folder / "masks", "a red star", "-o", shop.folder / "out"
    assert shop.msbd("batch", *where, *QUICK, "--seed", 3) == 0, shop.stderr
    for number in range(3):
        recipe = read_recipe(shop.folder / "out" / f"{number}.png")
        assert (recipe.prompt, recipe.seed) == ("a red star", 3)


@pytest.mark.edits
def test_what_is_made_by_the_same_recipe_stays(shop: Desk) -> None:
    rows = four()
    assert batch(shop, rows) == 0
    before, lines = made(shop), table(shop)
    assert batch(shop, rows) == 0 and "4 of 4 made (0 now)" in shop.stdout
    assert made(shop) == before and table(shop) == lines

    rows[0]["prompt"] = "a comet"
    rows[1]["texture"] = 0.5
    save(shop.folder / "m2.png", painted(56, 64, slice(4, 30), slice(20, 50)))
    for change, names in (
        (lambda: None, {"p0.png", "p1.png", "p2.png"}),
        ((shop.folder / "out" / "p3.png").unlink, {"p3.png"}),
        (partial((shop.folder / "out" / "p1.png").write_bytes, b"half"), {"p1.png"}),
        (partial(models.MINIATURE.write_bytes, b"others"), {f"p{n}.png" for n in range(4)}),
        (rows.reverse, set()),
        (lambda: rows.append({**rows[0], "output": "more.png"}), {"more.png"}),
    ):
        change()
        assert batch(shop, rows) == 0, shop.stderr
        after = made(shop)
        assert {name for name in after if after[name] != before.get(name)} == names
        assert [int(line["row"]) for line in table(shop)[: len(rows)]] == [*range(1, len(rows) + 1)]
        before = after
    assert batch(shop, rows, "--set", "steps=3") == 0 and "(5 now)" in shop.stdout


def digests(shop: Desk, row: dict[str, Any], webui: bool = False, **options: Any) -> str:
    """The recipe of a row."""
    values = {**four()[0], **row}
    files = {name: str(shop.folder / values[name]) for name in ("image", "mask")}
    told = {name: str(value) for name, value in {**values, **row, **files}.items() if value}
    for name in row.keys() & {"image"}:
        told[name] = row[name]
    made = Row(1, {**told, "output": "/out/a.png"})
    return recipes([made], Options(**options), webui)[1]


def test_whatever_decides_on_the_picture_changes_the_recipe(shop: Desk) -> None:
    network = shop.folder / "net.pth"
    network.write_bytes(b"one")
    by_name = {"changes": (f"upscaler={network}",)}
    before = digests(shop, {}, **by_name)
    network.write_bytes(b"another")
    config = models.MINIATURE.with_suffix(".yaml")
    plain = digests(shop, {})
    config.write_text("model:")
    seen = [
        *(before, plain, digests(shop, {}), digests(shop, {}, **by_name)),
        *(digests(shop, {}, webui=True), digests(shop, {}, soft_mask=True)),
        *(digests(shop, {}, clip=name) for name in ("none", "ViT-B-32/openai")),
        *(digests(shop, {"checkpoint": name}, webui=True) for name in ("one", "two")),
        *(digests(shop, {}, checkpoint=name, webui=True) for name in ("three", "four")),
        *(digests(shop, {"image": f"http://127.0.0.1:9/{name}.png"}) for name in "ab"),
        *(digests(shop, values) for values in ({"seed": 3}, {"prompt": "x"}, {"negative": "x"})),
        *(digests(shop, values) for values in ({"texture": 0.5}, {"preset": "draft"})),
    ]
    assert len(set(seen)) == len(seen)
    same = [digests(shop, {"seed": -1}), digests(shop, {"seed": None})]
    assert same[0] == same[1]
    assert digests(shop, {}, changes=("steps=7",)) == digests(shop, {"steps": 7})


@pytest.mark.edits(alike=False)
@pytest.mark.parametrize("name", ["checkpoint", "upscaler"])
def test_rows_of_a_model_are_made_together(shop: Desk, model: Model, name: str) -> None:
    for letter in "ab":
        (shop.folder / f"{letter}.pth").write_bytes(letter.encode())
    rows = [
        {**row, name: f"{letter}.pth", "output": f"{letter}{row['seed']}.png"}
        for row in four()
        for letter in "ab"
    ]
    assert batch(shop, rows) == 0 and model.loaded == 2


@pytest.mark.edits
def test_a_checkpoint_is_loaded_once(shop: Desk, model: Model) -> None:
    """However its rows are mixed with another's."""
    for name in ("one", "two"):
        (shop.folder / f"{name}.safetensors").write_bytes(name.encode())
    mixed = [
        {**row, "checkpoint": f"{name}.safetensors", "output": f"{name}{row['seed']}.png"}
        for row in four()
        for name in ("one", "two")
    ]
    plain = [{**row, "output": f"plain{row['seed']}.png"} for row in four()]
    assert batch(shop, [*mixed, *plain]) == 0, table(shop)
    assert model.loaded == 3 and len(made(shop)) == 12
    recipes = {name: read_recipe(shop.folder / "out" / name).model for name in made(shop)}
    assert recipes["one0.png"] == "one.safetensors" and recipes["two3.png"] == "two.safetensors"


@pytest.mark.edits(alike=False)
def test_a_seed_left_to_chance_is_made_once(shop: Desk) -> None:
    rows = [{**row, "seed": None} for row in four()]
    assert batch(shop, rows) == 0
    before = made(shop)
    seeds = {line["seed"] for line in table(shop)}
    assert len(seeds) == 4
    rows[0]["seed"] = -1
    assert batch(shop, rows) == 0 and made(shop) == before
    assert read_recipe(shop.folder / "out" / "p0.png").seed == int(table(shop)[0]["seed"])


@pytest.mark.edits
def test_a_table_that_was_cut_off_is_gone_on_with(shop: Desk) -> None:
    assert batch(shop, four()) == 0
    path = shop.folder / "out" / "results.csv"
    text = path.read_text()
    path.write_text(text[: text.index("p2.png") + 40])
    before = made(shop)
    assert batch(shop, four()) == 0 and len(table(shop)) == 4
    after = made(shop)
    assert after["p0.png"] == before["p0.png"] and after["p3.png"] != before["p3.png"]


@pytest.mark.parametrize(
    "content", [b"sku,price\n1,2\n", b"my only notes", b'{"a": 1}', b"\x89PNG\r\n\x1a\n\xff\xfe"]
)
def test_other_files_are_not_taken_for_the_table(shop: Desk, content: bytes) -> None:
    other = shop.folder / "prices.csv"
    other.write_bytes(content)
    assert batch(shop, four(), "--results", other) == 2 and shop.refused("is no table of results")
    assert other.read_bytes() == content


def test_two_batches_do_not_write_one_table(shop: Desk) -> None:
    path = shop.folder / "out" / "results.csv"
    first = Table(path)
    first.begin([])
    assert batch(shop, four()) == 2 and shop.refused("another batch writes", "--results")
    first.close()
    assert not list(path.parent.glob(".*"))


@pytest.mark.edits
def test_each_output_has_one_line(shop: Desk) -> None:
    """However often its row has changed; a row that fails now has no line of what was."""
    for prompt in ("a star", "a ring", "a star", "a cross"):
        assert batch(shop, four(prompt=prompt)) == 0
    assert len(table(shop)) == 4
    path = shop.folder / "out" / "results.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # as Excel saves it
    rows = four(prompt="a cross")
    rows[1]["mask"] = "nope.png"
    assert batch(shop, rows) == 1 and "3 of 4 made (0 now)" in shop.stdout
    assert [bool(line["error"]) for line in table(shop)] == [False, True, False, False]


@pytest.mark.edits
def test_names_of_all_kinds(shop: Desk) -> None:
    """A name that cannot be costs its row; one in another encoding is a name like others."""
    odd = os.fsdecode(b"caf\xe9.png")
    for name in ("~x.png", odd, "d\u00e9j\u00e0 vu 1.png"):
        (shop.folder / name).write_bytes((shop.folder / "p0.png").read_bytes())
    named = [
        "~x.png",
        "d\u00e9j\u00e0 vu 1.png",
        "a\0.png",
        "~nosuchuser/a.png",
        "x" * 300 + ".png",
    ]
    rows = [{**four()[0], "image": name, "output": f"{n}.png"} for n, name in enumerate(named)]
    rows.append({**four()[0], "output": "long.png", "prompt": "very " * 200})
    assert batch(shop, rows) == 1
    assert [bool(line["error"]) for line in table(shop)] == [False, False, True, True, True, False]
    assert not any("fault of the program" in line["error"] for line in table(shop))
    photos = shop.folder / "photos"
    photos.mkdir()
    (photos / odd).write_bytes((shop.folder / "p0.png").read_bytes())
    where = photos, shop.folder / "m0.png", "a star", "-o", shop.folder / "odd", *QUICK, "--seed", 1
    assert shop.msbd("batch", *where) == 0 and shop.msbd("batch", *where) == 0
    assert "1 of 1 made (0 now)" in shop.stdout


@pytest.mark.edits
def test_results_inside_the_folder_are_no_pictures_of_it(shop: Desk) -> None:
    photos = shop.folder / "photos"
    photos.mkdir()
    (photos / "a.png").write_bytes((shop.folder / "p0.png").read_bytes())
    (photos / "m.png").write_bytes((shop.folder / "m0.png").read_bytes())
    where = photos, photos / "m.png", "a star", "-o", photos / "edited", *QUICK, "--seed", 1
    for now in (1, 0, 0):
        assert shop.msbd("batch", *where) == 0
        assert f"1 of 1 made ({now} now)" in shop.stdout
    assert shop.msbd("batch", *where[:4], photos, *QUICK) == 2 and shop.refused("name another -o")


@pytest.mark.edits
def test_a_manifest_takes_a_prompt_for_rows_without(shop: Desk) -> None:
    rows = [{name: row[name] for name in ("image", "mask", "seed")} for row in four()]
    rows[1]["prompt"] = "a ring"
    where = manifest(shop, rows), "a star", "-o", shop.folder / "out", *QUICK
    assert shop.msbd("batch", *where) == 0, shop.stderr
    prompts = [read_recipe(Path(line["output"])).prompt for line in table(shop)]
    assert prompts == ["a star", "a ring", "a star", "a star"]


@pytest.mark.edits
def test_links_to_one_file_are_one_output(shop: Desk) -> None:
    (shop.folder / "out").mkdir()
    (shop.folder / "out" / "link").symlink_to(".")
    rows = [
        {**row, "output": name}
        for row, name in zip(four()[:2], ("s.png", "link/s.png"), strict=True)
    ]
    assert batch(shop, rows) == 1 and "1 of 2 made" in shop.stdout


@pytest.mark.edits
def test_a_stopped_batch_goes_on(shop: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five times, with each row made once."""
    rows = [{**row, "output": f"{row['seed']}-{n}.png"} for row in four() for n in range(5)]
    perform, counts = Editor.perform, dict[int, int]()
    shops: list[Any] = []

    def counted(editor: Editor, row: Any) -> Any:
        counts[row.number] = counts.get(row.number, 0) + 1
        if sum(counts.values()) % 4 == 0:
            shops[-1].stop()
        return perform(editor, row)

    begun = run._Run.__init__

    def remembered(self: Any, *arguments: Any) -> None:
        begun(self, *arguments)
        shops.append(self)

    monkeypatch.setattr(Editor, "perform", counted)
    monkeypatch.setattr(run._Run, "__init__", remembered)
    codes = [batch(shop, rows)]
    while codes[-1] == 130 and len(codes) < 9:
        assert "the same command goes on" in shop.stdout
        codes.append(batch(shop, rows))
    assert len(codes) > 4 and codes[-1] == 0
    assert set(counts.values()) == {1} and len(counts) == len(made(shop)) == 20


def broken(shop: Desk) -> list[dict[str, Any]]:
    """What each kind has in place of a good row's values."""
    folder = shop.folder / "x"
    folder.mkdir()
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("hello")
    (folder / "cut.png").write_bytes((shop.folder / "p0.png").read_bytes()[:900])
    (folder / "folder.png").mkdir()
    (folder / "bad.pth").write_bytes(b"123")
    Image.new("L", (64, 40)).save(folder / "black.png")
    Image.new("L", (64, 8), 255).save(folder / "aspect.png")
    Image.new("CMYK", (64, 40)).save(folder / "print.jpg")
    names = ("nope", "x/empty", "x/text", "x/cut", "x/folder")
    return [
        *({"image": f"{name}.png"} for name in names),
        *({"mask": f"{name}.png"} for name in (*names, "x/black", "x/aspect")),
        {"image": "x/print.jpg"},
        {"image": None},
        {"mask": ""},
        {"prompt": None},
        {"prompt": "(a:1.2.3)"},
        {"seed": "abc"},
        {"seed": 2**40},
        {"preset": "best"},
        {"steps": 0},
        {"margin": "wide"},
        {"candidate": "x"},
        {"start": "paint"},
        {"paint": "nope.png"},
        {"output": "a.xyz"},
        {"output": "p0.png/a.png"},
        {"output": "../p0.png"},
        {"checkpoint": "nope.safetensors"},
        {"upscaler": "nope.pth"},
        {"image": "s4://bucket/a.png"},
        {"image": "memory://none.png"},
        {"image": "http://127.0.0.1:9/a.png"},
    ]


@pytest.mark.edits
def test_broken_rows_are_lines_of_the_table(shop: Desk) -> None:
    """A hundred, of thirty kinds; what is sound among them is made."""
    kinds = broken(shop)
    rows = []
    for number in range(100):
        values = {"output": f"b{number}.png", **kinds[number % len(kinds)]}
        rows.append({**four()[0], **values})
    good = {**four()[1], "output": "good.png"}
    (shop.folder / "out").mkdir()
    (shop.folder / "out" / "p0.png").write_bytes(b"in the way")
    path = manifest(shop, [*rows[:50], good, *rows[50:]])
    path.write_text(path.read_text() + "{no json\n")
    assert shop.msbd("batch", path, "-o", shop.folder / "out", *QUICK) == 1
    assert "Traceback" not in shop.stdout + shop.stderr
    lines = table(shop)
    assert len(lines) == 102 and "1 of 102 made (1 now), 101 failed" in shop.stdout
    for number, line in enumerate(lines, 1):
        assert bool(line["error"]) == (number != 51), line
        assert "fault of the program" not in line["error"] and "\n" not in line["error"]
    told = {line["error"] for line in lines}
    assert len(told) > 25
    assert load(shop.folder / "out" / "good.png").shape == (48, 64, 3)
    assert (load(shop.folder / "p0.png") == speckles(40, 64)).all()


def test_a_fault_of_the_program_is_a_line_too(shop: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "load", lambda chosen: 1 / 0)
    assert batch(shop, four()) == 1
    (told,) = {line["error"] for line in table(shop)}
    assert told.startswith(
        "a fault of the program: ZeroDivisionError: division by zero (test_batch"
    )


@pytest.mark.edits
@pytest.mark.parametrize("fails", [1, 2, 9])
def test_memory_that_runs_out_may_be_there_later(
    shop: Desk, monkeypatch: pytest.MonkeyPatch, model: Model, fails: int
) -> None:
    left = [fails]

    def load(chosen: models.Models) -> Model:
        left[0] -= 1
        if left[0] >= 0:
            raise MemoryError
        return model

    monkeypatch.setattr(models, "load", load)
    code = batch(shop, four()[:1])
    assert code == (1 if fails == 9 else 0)
    assert ("not enough memory" in table(shop)[0]["error"]) == (fails == 9)


@pytest.mark.parametrize(
    "more, words",
    [
        (("--preset", "draft", "--set", "steps=0"), "steps must be"),
        (("--checkpoint", "nope.safetensors"), "no checkpoint"),
        (("--set", "stepps=3"), "unknown setting"),
        (("--workers", 0), "--workers must be"),
        (("--webui", "http://127.0.0.1:9", "--clip", "none"), "no effect with --webui"),
        (("--webui", "http://127.0.0.1:9", "--workers", 2), "no effect with --webui"),
        (("--ray", "--device", "cpu"), "no effect with --ray"),
        (("--auth", "a:b"), "--auth is for --webui"),
    ],
)
def test_what_concerns_all_rows_is_told_at_once(shop: Desk, more: tuple, words: str) -> None:
    assert batch(shop, four(), *more) == 2 and shop.refused(words)
    assert not (shop.folder / "out").exists()


def program(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "msbd", *map(str, arguments)]


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """A folder with a manifest of six rows for the miniature."""
    rows = []
    for number in range(6):
        save(tmp_path / f"p{number}.png", speckles(96, 96))
        save(tmp_path / f"m{number}.png", painted(96, 96, slice(20, 70), slice(20, 70)))
        rows.append({"image": f"p{number}.png", "mask": f"m{number}.png", "seed": number})
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": "a red star", **row}) + "\n" for row in rows))
    return path


DRAFT = ("--preset", "draft", "--set", "steps=4", "--quiet")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_finishes_what_is_in_hand(real: Path) -> None:
    """Sent to the whole group of processes, as a terminal does."""
    out = real.parent / "out"
    command = program("batch", real, "-o", out, "--workers", 2, *DRAFT)
    ran = subprocess.Popen(command, start_new_session=True)
    while not list(out.glob("*.png")):
        assert ran.poll() is None
        time.sleep(0.05)
    os.killpg(ran.pid, signal.SIGINT)
    assert ran.wait() == 130
    there = {path.name: path.read_bytes() for path in out.glob("*.png")}
    assert 1 <= len(there) < 6
    assert subprocess.run(command, check=False).returncode == 0
    for number in range(6):
        alone = real.parent / "alone.png"
        files = real.parent / f"p{number}.png", real.parent / f"m{number}.png"
        edit = program("edit", *files, "a red star", "--seed", number, "-o", alone, *DRAFT)
        assert subprocess.run(edit, check=False).returncode == 0
        assert (out / f"p{number}.png").read_bytes() == alone.read_bytes()
    for name, content in there.items():
        assert (out / name).read_bytes() == content


def test_processes_make_them_with_the_miniature(real: Path) -> None:
    out = real.parent / "out"
    ran = subprocess.run(
        program("batch", real, "-o", out, *DRAFT), capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0 and not ran.stderr, ran
    pictures = [load(path) for path in sorted(out.glob("*.png"))]
    assert len(pictures) == 6
    before = load(real.parent / "p0.png")
    for picture in pictures:
        assert (picture != before).any() and (picture[:10] == before[:10]).all()
    assert len({picture.tobytes() for picture in pictures}) == 6
    assert np.all(
        [float(line["seconds"]) > 0 for line in csv.DictReader((out / "results.csv").open())]
    )
