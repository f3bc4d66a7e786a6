"""What CLIP's first use downloads is told before, with its size and a way to go on without."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Desk, Model

from msbd.miniature.torchvision_patch import patch_torchvision
from msbd.standalone import downloads
from msbd.standalone.clip import OPENAI, ClipRanker
from msbd.standalone.downloads import Download, clip_download

patch_torchvision()
pytest.importorskip("open_clip")


@pytest.fixture(autouse=True)
def _empty_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def by_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """As open_clip before its version 3."""
    monkeypatch.setattr(downloads, "_prefers_the_hub", lambda pretrained: False)


def kept(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")


def test_from_the_hub_until_it_is_kept(tmp_path: Path) -> None:
    pending = clip_download(OPENAI)
    assert pending is not None and pending.folder == tmp_path / "hub"
    assert "CLIP ViT-L-14/openai" in str(pending) and "1.7 GB from huggingface.co" in str(pending)
    repository = tmp_path / "hub" / "models--timm--vit_large_patch14_clip_224.openai"
    kept(repository / "blobs" / "1234.incomplete")
    kept(repository / "snapshots" / "abc" / "config.json")
    assert clip_download(OPENAI) is not None
    kept(repository / "snapshots" / "def" / "open_clip_model.safetensors")
    assert clip_download(OPENAI) is None


def test_from_openai_until_it_is_kept(tmp_path: Path, by_url: None) -> None:
    pending = clip_download("ViT-L-14")
    assert pending is not None and "933 MB from openaipublic" in str(pending)
    kept(tmp_path / ".cache" / "clip" / "ViT-L-14.pt")
    assert clip_download("ViT-L-14") is None


def test_what_is_not_known_is_said_roughly() -> None:
    pending = clip_download("ViT-B-32/openai")
    assert pending is not None and "several hundred megabytes" in str(pending)


@pytest.mark.parametrize("source", [None, "", "clip.pt", Path("a/b.safetensors"), "no/such"])
def test_no_download_for_files_nor_for_unknown_names(source: Any) -> None:
    assert clip_download(source) is None


def test_no_download_without_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert clip_download(OPENAI) is None


def test_without_open_clip_openai_s_come_from_the_same_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told in the same words, kept in the same folder; other names download nothing."""
    told = {name: str(clip_download(f"{name}/openai")) for name in downloads._HUB}
    monkeypatch.setitem(sys.modules, "open_clip", None)
    assert {name: str(clip_download(f"{name}/openai")) for name in downloads._HUB} == told
    assert str(clip_download("ViT-L-14")) == told["ViT-L-14"].replace("/openai", "", 1)
    for other in ("ViT-H-14/laion2b_s32b_b79k", "ViT-L-14/laion2b_s32b_b82k", "RN50/openai", "no"):
        assert clip_download(other) is None
    kept(
        tmp_path / "hub" / "models--timm--vit_large_patch14_clip_224.openai" / "snapshots" / "abc"
        "/open_clip_model.safetensors"
    )
    assert clip_download(OPENAI) is None


def test_openai_s_repositories_are_open_clip_s() -> None:
    from open_clip import pretrained

    for name, repository in downloads._HUB.items():
        facts = pretrained.get_pretrained_cfg(name, "openai")
        assert facts["hf_hub"] == f"{repository}/"


@pytest.fixture
def ranker(model: Model, monkeypatch: pytest.MonkeyPatch) -> ClipRanker:
    """The ranker of the command's model; Ctrl-C is pressed while it loads."""

    def load_clip(source: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("msbd.standalone.clip.load_clip", load_clip)
    model.ranker = ClipRanker(OPENAI)
    return model.ranker


@pytest.mark.edits
def test_ctrl_c_ends_the_download_and_the_edit_goes_on(desk: Desk, ranker: ClipRanker) -> None:
    assert desk.edit("--clip", OPENAI) == 0, desk.stderr
    said = desk.stdout.index("CLIP ViT-L-14/openai is to be downloaded: about 1.7 GB")
    assert said < desk.stdout.index("stages") and "--clip none" in desk.stdout
    assert ranker.reason == "CLIP's download was stopped" and desk.out.exists()


@pytest.mark.edits
def test_what_needs_no_clip_downloads_none(desk: Desk, ranker: ClipRanker) -> None:
    for arguments in (("--clip", "none"), ("--clip", OPENAI, "--set", "candidates=1")):
        assert desk.edit(*arguments) == 0
        assert "download" not in desk.stdout and ranker.reason is None


def test_sizes_as_people_read_them() -> None:
    assert downloads.in_words(64_000_000) == "64 MB" and downloads.in_words(2 * 10**9) == "2.0 GB"
    assert "64 MB from a.b to c" in str(Download("x", 64 * 10**6, "a.b", Path("c")))
