"""The check of an installation in the WebUI, on its stand-in; and what is told of downloads."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from standin import Host, installed
from standin.desk import edited, reports, request

from msbd.check.block import BEGIN, END
from msbd.errors import EditError

pytest.importorskip("fastapi")


@pytest.fixture
def host() -> Iterator[Host]:
    with installed() as started:
        started.shared.opts.msbd_clip_model = ""
        started.begin()
        yield started


def failures(examination: Any, preset: str = "draft") -> dict[str, str]:
    found = next(one for one in examination.presets if one.preset == preset)
    return {one.name: one.detail for one in found.findings if not one.ok}


@pytest.mark.edits
def test_the_standin_passes(host: Host) -> None:
    from msbd.webui.checking import check

    host.shared.cmd_opts.medvram = True
    examination, text = check(["draft"])
    assert not examination.failed, text
    assert text.startswith(BEGIN) and text.endswith(END) and text.isascii()
    assert "--medvram --no-half --precision full --use-cpu all" in text
    assert "standin.safetensors" in text and "/models" not in text and "red star" not in text
    assert "CLIP              ok, left out" in text and not host.saved


@pytest.mark.edits
def test_what_the_host_gives_that_is_no_number_fails(host: Host, monkeypatch) -> None:
    from msbd.webui.checking import check
    from msbd.webui.hosts.backend import HostBackend

    monkeypatch.setattr(HostBackend, "encode", lambda self, image: image * torch.nan)
    failed = failures(check(["draft"])[0])
    assert "encoding gave numbers that are not finite" in failed["networks"]
    assert {"autoencoder", "decoder copy"} <= failed.keys()


@pytest.mark.edits
def test_no_upscaler_and_no_clip_fail(host: Host, tmp_path: Path) -> None:
    from msbd.webui.checking import check

    scaler = next(u for u in host.shared.sd_upscalers if u.name == "R-ESRGAN 4x+")
    scaler.local_data_path = ""
    assert "R-ESRGAN 4x+' does not work" in failures(check(["draft"])[0])["edit"]
    host.shared.opts.msbd_clip_weights = str(tmp_path / "gone.pt")
    failed = failures(check(["draft"], "Lanczos")[0])
    assert list(failed) == ["CLIP"] and "CLIP cannot be used" in failed["CLIP"]


@pytest.mark.edits
def test_an_interruption_ends_it(host: Host) -> None:
    from msbd.webui.checking import check

    host.before_call(lambda calls: host.shared.state.interrupt() if calls > 25 else None)
    examination, text = check(["draft", "fast"])
    assert examination.stopped and "verdict: INTERRUPTED" in text and not examination.presets


def test_unknown_names_and_unsuitable_checkpoints(host: Host) -> None:
    from msbd.webui.checking import check

    for arguments in ((["best"],), ([], "Nonesuch")):
        with pytest.raises(EditError):
            check(*arguments)
    host.model.is_sdxl = True
    examination, text = check()
    assert examination.failed == 1 and "model             FAILED: SDXL" in text


@pytest.fixture
def asked(host: Host, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the button and the route asked `check` for."""
    components = ModuleType("modules.ui_components")
    components.FormRow = None
    monkeypatch.setitem(sys.modules, components.__name__, components)
    calls: list[Any] = []

    def check(presets: Any = (), upscaler: str | None = None) -> Any:
        calls.append((list(presets), upscaler, host.shared.state.job))
        if "best" in presets:
            raise EditError("no such preset")
        return SimpleNamespace(to_dict=lambda: {"ok": True}), "the block"

    from msbd.webui import checking

    monkeypatch.setattr(checking, "check", check)
    return calls


def test_the_button_is_an_option_that_is_never_saved(host: Host, asked: list[Any]) -> None:
    from msbd.webui.panel import check as check_panel

    check_panel.register()
    info = host.shared.opts.data_labels[check_panel.OPTION]
    assert info.do_not_save and info.component is check_panel.build
    assert info.section == check_panel.SECTION
    assert check_panel.show("task(x)", ["draft"], "Lanczos") == ("the block", "")
    assert check_panel.show("task(x)", ["best"], "Lanczos") == ("no such preset", "")
    assert asked[0] == (["draft"], "Lanczos", "test")


def scaler_at(url: str, folder: Path) -> Any:
    owner = SimpleNamespace(model_download_path=None, model_path=str(folder), name="RealESRGAN")
    return SimpleNamespace(
        host=SimpleNamespace(name="R-ESRGAN 4x+", data_path=url, local_data_path=url, scaler=owner)
    )


def test_an_upscaler_that_is_missing_is_announced(host: Host, tmp_path: Path) -> None:
    from msbd.webui.downloads import of_upscaler, told, upscaler_download

    url = "https://github.com/xinntao/Real-ESRGAN/releases/RealESRGAN_x4plus.pth"
    missing = scaler_at(url, tmp_path)
    assert "67 MB from github.com" in str(upscaler_download(missing))
    with told(of_upscaler(missing)):
        said = host.shared.state.textinfo
    assert host.shared.state.textinfo is None
    assert "67 MB" in said and "Lanczos as Upscaler needs none" in said and "\n" not in said
    missing.host.local_data_path = str(tmp_path / "other.pth")
    assert upscaler_download(missing) is None
    kept = scaler_at(url, tmp_path)
    (tmp_path / "RealESRGAN_x4plus.pth").write_bytes(b"weights")
    assert upscaler_download(kept) is None
    assert upscaler_download(scaler_at("/models/x.pth", tmp_path)) is None
    assert upscaler_download(object()) is None


@pytest.mark.edits
def test_clip_is_announced_and_fetched_before_an_edit_that_needs_it(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("open_clip")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    seen: list[tuple[str | None, int]] = []

    def load_clip(source: Any) -> None:
        seen.append((host.shared.state.textinfo, len(host.calls)))
        raise OSError("no network")

    monkeypatch.setattr("msbd.standalone.clip.load_clip", load_clip)
    host.shared.opts.msbd_clip_model = "ViT-L-14/openai"
    edited(host, request(host), choose="first")
    assert not seen
    plain = len(host.calls)
    processed = edited(host, request(host), choose="clip")
    (said, calls), *_ = seen
    assert "1.7 GB from huggingface.co" in said and "Candidates: 1 needs none" in said
    assert calls == plain and host.shared.state.textinfo is None
    assert any("no network" in note for note in reports(processed)[0]["notes"])


def test_a_dry_run_tells_of_downloads(host: Host, tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("open_clip")
    from msbd.webui.dry_run import dry_run
    from msbd.webui.fields import chosen
    from msbd.webui.inputs import prepared

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    host.shared.opts.msbd_clip_model = "ViT-L-14/openai"
    p = request(host)
    inputs = prepared(p.init_images, p.image_mask, invert=False)
    for preset, count in (("recommended", 1), ("draft", 0)):
        settings = chosen([{"preset": preset}], {}).settings
        planned = dry_run(inputs, settings, sampler_name="Euler a", count=1)
        told = [note for note in planned.notes if "is to be downloaded" in note]
        assert len(told) == count and planned.text().count("about 1.7 GB") == count
