"""Kept edits under names that nobody guesses, within limits of room and age."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msbd.errors import EditError
from msbd.keeping.store import EditStore


def folders(tmp_path: Path, sizes: list[int]) -> list[Path]:
    """Kept edits, the oldest first."""
    store, made = EditStore(tmp_path), []
    for age, size in zip(range(len(sizes), 0, -1), sizes, strict=True):
        path = store.new({}).path
        (path / "stage.npy").write_bytes(bytes(size))
        then = time.time() - age * 24 * 3600
        os.utime(path / "edit.json", (then, then))
        made.append(path)
    return made


def test_the_oldest_go_first(tmp_path):
    old, middle, new = folders(tmp_path, [5000, 5000, 5000])
    EditStore(tmp_path).tidy(11_000, 100)
    assert [path.exists() for path in (old, middle, new)] == [False, True, True]


def test_what_is_too_old_goes(tmp_path):
    old, middle, new = folders(tmp_path, [10, 10, 10])
    EditStore(tmp_path).tidy(1e9, 2.5)
    assert [path.exists() for path in (old, middle, new)] == [False, True, True]


def test_what_was_just_made_stays(tmp_path):
    old, new = folders(tmp_path, [10, 10_000])
    EditStore(tmp_path).tidy(100, 1e-6, [new.name])
    assert [path.exists() for path in (old, new)] == [False, True]


def test_nothing_else_is_touched(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "edit.json").write_text("{}")
    (tmp_path / ("0" * 32)).mkdir()  # which is no edit
    EditStore(tmp_path).tidy(0, 0)
    assert len(list(tmp_path.iterdir())) == 2
    EditStore(tmp_path / "nowhere").tidy(0, 0)


@given(st.one_of(st.text(), st.from_regex(r"[0-9a-fA-F./\\]{30,34}"), st.just("/etc")))
def test_no_path_is_formed_of_what_is_no_id(name):
    store = EditStore(Path("/nonexistent"))
    for act in (store.open, store.forget):
        with pytest.raises(EditError):
            act(name)


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "edits").mkdir()
    (outside := tmp_path / "outside").mkdir()
    (outside / "edit.json").write_text('{"format": 1, "about": {}, "parts": []}')
    (tmp_path / "edits" / ("a" * 32)).symlink_to(outside)
    with pytest.raises(EditError, match="not kept"):
        EditStore(tmp_path / "edits").forget("a" * 32)
    assert outside.exists()


def test_names_are_long_and_all_others(tmp_path):
    store = EditStore(tmp_path)
    names = {store.new({}).path.name for _ in range(50)}
    assert len(names) == 50 and all(len(name) == 32 for name in names)
