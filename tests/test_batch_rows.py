"""Manifests in every way they are written, and folders."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from conftest import painted, save, speckles
from hypothesis import given, settings
from hypothesis import strategies as st

from msbd.cli.batch.rows import Row, from_folders, from_manifest, with_outputs
from msbd.errors import EditError

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=20).map(
    str.strip
)
VALUES = st.fixed_dictionaries(
    {"image": st.from_regex(r"[a-z]{1,5}\.png", fullmatch=True), "prompt": TEXT, "negative": TEXT},
    optional={"seed": st.integers(-1, 2**32 - 1), "margin": st.floats(1, 4), "sku": TEXT},
)


def written(path: Path, kind: str, rows: list[dict]) -> Path:
    """A manifest of one of the kinds."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    if kind == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        table = {name: [row.get(name) for row in rows] for name in names}
        parquet.write_table(pyarrow.table(table), path)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        text = io.StringIO()
        delimiter = {"csv": ",", "excel": ";", "tsv": "\t"}[kind]
        writer = csv.DictWriter(text, names, delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
        encoding = "utf-8-sig" if kind == "excel" else "utf-8"
        path.write_text(text.getvalue(), encoding=encoding, newline="")
    return path


@pytest.mark.parametrize("kind", ["csv", "excel", "tsv", "jsonl", "parquet"])
@settings(max_examples=40, deadline=None)
@given(rows=st.lists(VALUES, min_size=1, max_size=5))
def test_what_is_written_is_read(
    kind: str, rows: list[dict], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("manifest")
    ending = {"excel": "csv"}.get(kind, kind)
    manifest = from_manifest(str(written(folder / f"rows.{ending}", kind, rows)))
    assert [row.number for row in manifest.rows] == list(range(1, len(rows) + 1))
    for row, given_row in zip(manifest.rows, rows, strict=True):
        assert not row.problem
        assert row.values["image"] == str(folder / given_row["image"])
        for name in ("prompt", "negative"):
            assert row.values.get(name, "") == given_row[name]
        if "seed" in given_row:
            assert int(row.values["seed"]) == given_row["seed"]
        if "margin" in given_row:
            assert float(row.values["margin"]) == given_row["margin"]
    told = any(row.get("sku") for row in rows)
    assert manifest.notes == (["column 'sku' is not used"] if told else [])


def test_a_mistyped_column_is_told(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.csv", "csv", [{"image": "a.png", "guidence": 3, "price": 10}])
    notes = from_manifest(str(path)).notes
    assert notes == [
        "column 'guidence' is not used: is 'guidance' meant?",
        "column 'price' is not used",
    ]


def test_addresses_and_whole_paths_stay(tmp_path: Path) -> None:
    values = {"image": "s3://b/a.png", "mask": "/m/a.png", "checkpoint": "sd-v1-4", "prompt": "x"}
    (row,) = from_manifest(str(written(tmp_path / "rows.csv", "csv", [values]))).rows
    assert row.values == values
    for folder, whole in (
        (str(tmp_path), str(tmp_path / "a.png")),
        ("s3://o/x/", "s3://o/x/a.png"),
    ):
        assert with_outputs([row], folder)[0].values["output"] == whole


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("rows.txt", b"image\na.png\n", "no manifest"),
        ("rows.csv", b"", "no rows"),
        ("rows.csv", b"image,mask\n", "no rows"),
        ("rows.csv", b"picture,mask\na.png,b.png\n", "no column image"),
        ("rows.csv", b"image\n\xff\xfe\n", "not in UTF-8"),
        ("rows.csv", b'image,mask\n"a"x.png,b.png\n', "line 2: .* quotes"),
        ("rows.csv", b"image,prompt,prompt\na.png,x,y\n", "two columns prompt"),
        ("rows.parquet", b"PAR1 not really", "no Parquet file"),
        ("none.csv", None, "No such file"),
    ],
)
def test_what_is_no_manifest_is_refused(
    tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    path = tmp_path / name
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(EditError, match=words):
        from_manifest(str(path))


def test_a_line_that_is_wrong_is_one_rows_problem(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"image": "a.png"}\n\n[1]\n{"image": \n{"image": "b.png"}\n')
    rows = from_manifest(str(path)).rows
    assert [bool(row.problem) for row in rows] == [False, True, True, False]
    path = tmp_path / "rows.csv"
    path.write_text("image,prompt\na.png,a red star, on grass\nb.png\n")
    first, second = from_manifest(str(path)).rows
    assert "3 cells for 2 columns" in first.problem and not second.problem


def test_outputs_are_named_after_pictures_and_never_twice() -> None:
    names = [("x/a.jpg", ""), ("y/a.tif", ""), ("z/b.png", "c.webp"), ("s3://t/d.e.jpg", "")]
    rows = [
        Row(number, {"image": image, **({"output": output} if output else {})})
        for number, (image, output) in enumerate(names, 1)
    ]
    made = with_outputs(rows, "out")
    assert [Path(row.values["output"]).name for row in made] == [
        "a.png",
        "a.png",
        "c.webp",
        "d.e.png",
    ]
    assert "row 1 is written to" in made[1].problem
    assert not any(row.problem for row in (made[0], *made[2:]))


def test_nothing_that_is_read_is_written_over(tmp_path: Path) -> None:
    """Not by another row either, and however it is named."""
    folder = str(tmp_path)
    rows = [
        Row(1, {"image": f"{folder}/a.jpg", "mask": f"{folder}/m.png"}),
        Row(2, {"image": f"{folder}/a.png", "mask": f"{folder}/m.png", "output": "b.png"}),
        Row(3, {"image": f"{folder}/c.png", "mask": f"{folder}/d.png", "output": "x/../m.png"}),
        Row(4, {"image": f"{folder}/c.png", "mask": f"{folder}/d.png", "output": "c2.png"}),
    ]
    problems = [row.problem for row in with_outputs(rows, folder)]
    assert "a.png is read by row 2" in problems[0] and "m.png is read by row" in problems[2]
    assert not problems[1] and not problems[3]


@pytest.mark.parametrize("system, same", [("linux", False), ("win32", True), ("darwin", True)])
def test_where_capital_letters_are_not_looked_at_names_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, same: bool
) -> None:
    monkeypatch.setattr("sys.platform", system)
    rows = [Row(1, {"image": "/x/A.jpg"}), Row(2, {"image": "/y/a.jpg"})]
    assert bool(with_outputs(rows, str(tmp_path))[1].problem) == same


def test_relative_names_are_made_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    values = {"image": "p/a.png", "mask": "~/m.png", "prompt": "x"}
    (row,) = from_manifest(str(written(Path("rows.csv"), "csv", [values]))).rows
    assert row.values["image"] == str(tmp_path / "p" / "a.png")
    assert row.values["mask"] == str(tmp_path / "home" / "m.png")
    assert with_outputs([row], "out")[0].values["output"] == str(tmp_path / "out" / "a.png")


def test_folders_are_paired_by_name(tmp_path: Path) -> None:
    for name in ("a.png", "deep/b.jpg", "lone.png", "two.png", "two.jpg", "notes.txt"):
        place = tmp_path / "photos" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        save(place, speckles(8, 8)) if place.suffix != ".txt" else place.write_text("x")
    (tmp_path / "photos" / "out").mkdir()
    for name in ("a.gif", "deep/b.png", "other.png", "two.png"):
        place = tmp_path / "masks" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        save(place, painted(8, 8, slice(2, 6), slice(2, 6)))
    photos, masks = tmp_path / "photos", tmp_path / "masks"
    out = str(photos / "out")
    save(tmp_path / "photos" / "out" / "a.png", speckles(8, 8))
    manifest = from_folders(str(photos), str(masks), out)
    pairs = {row.values["output"]: Path(row.values["mask"]) for row in manifest.rows}
    assert pairs == {
        "a.png": masks / "a.gif",
        "deep/b.png": masks / "deep" / "b.png",
        "lone.png": masks / "lone.png",
        "two.png.png": masks / "two.png",
        "two.jpg.png": masks / "two.png",
    }
    assert manifest.notes == ["masks that belong to no picture: other"]
    one = from_folders(str(photos), str(masks / "a.gif"), out)
    assert {row.values["mask"] for row in one.rows} == {str(masks / "a.gif")} and not one.notes
    for wrong in (
        (tmp_path / "none", masks),
        (photos, tmp_path / "none"),
        (masks / "deep" / "x", masks),
    ):
        with pytest.raises(EditError):
            from_folders(*map(str, wrong), out)
    with pytest.raises(EditError, match="among the pictures"):
        from_folders(str(photos), str(masks), str(photos))
    lone = from_folders(str(photos), str(save(photos / "mask.png", speckles(8, 8))), out)
    assert len(lone.rows) == 5, "one mask for all is none of the pictures"
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(EditError, match="no picture"):
        from_folders(str(empty), str(masks), out)
