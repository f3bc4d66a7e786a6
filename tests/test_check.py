"""`msbd check`: passes where all is well, and names what is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Desk, Model
from fakes import PointwiseBackend, PointwiseDecoder, small_spec
from safetensors.torch import load_file, save_file
from surroundings import hosted

from msbd.check.block import BEGIN, END, block
from msbd.check.examination import Made, Wrap, examine, examined
from msbd.check.finding import Checked, Examination, Finding
from msbd.check.subject import drawn
from msbd.cli import checking
from msbd.errors import EditError, Interrupted
from msbd.geometry import Size
from msbd.miniature import scene
from msbd.noise import Noise
from msbd.pipeline import edit
from msbd.planning import plan_edit
from msbd.presets import PRESETS, preset
from msbd.standalone import models
from msbd.standalone.clip import ClipRanker

SPEC = small_spec(128, multiple=32)
SUBJECT = drawn(128)
Change = Callable[[Made], Made]


class Ranker:
    """Whether CLIP is wanted, and why there is none."""

    def __init__(self, source: str | None = "clip", reason: str | None = None) -> None:
        self.source, self.reason = source, reason


def performing(
    backend: Any, ranker: Ranker | None = None, change: Change = lambda made: made
) -> Any:
    """Edits of the subject with a backend, whose outcome `change` may spoil."""

    def perform(name: str, wrap: Wrap) -> Made:
        settings, mask = preset(name), SUBJECT.painted()
        plan = plan_edit(SUBJECT.size, mask, settings, backend.spec)
        wrapped = wrap(backend, ranker or Ranker())
        done = edit(SUBJECT.image(), mask, plan, settings, wrapped, Noise(1))
        return change(Made(done.image, done.report.to_dict()))

    return perform


def failures(backend: Any, name: str = "draft", **options: Any) -> dict[str, str]:
    """What fails, and how, when a backend is examined."""
    checked = examined(name, SUBJECT, performing(backend, **options))
    return {one.name: one.detail for one in checked.findings if not one.ok}


def a_backend(kind: type = PointwiseBackend, **more: Any) -> Any:
    return kind(**{"spec": SPEC, "mode": "bilinear", **more})


@pytest.mark.edits
@pytest.mark.parametrize("name", ["recommended", "fast", "draft"])
def test_a_sound_backend_passes(name: str) -> None:
    checked = examined(name, SUBJECT, performing(a_backend()))
    assert checked.failed == 0, checked.findings
    assert {one.name for one in checked.findings} >= {
        "edit", "autoencoder", "decoder copy", "upscaler", "CLIP", "networks", "own decoder",
        "memory", "outside the mask", "inside the mask"}  # fmt: skip
    assert checked.seconds["all"] == pytest.approx(
        sum(checked.seconds.values()) - checked.seconds["all"], abs=0.02
    )


@pytest.mark.edits
def test_a_picture_from_a_hosts_inference_mode_is_as_good() -> None:
    with hosted():
        assert failures(a_backend()) == {}


@pytest.mark.parametrize("resolution", [128, 512, 768, 1024])
def test_the_subject_has_a_megapixel_and_work_for_several_stages(resolution: int) -> None:
    subject = drawn(resolution)
    spec = small_spec(resolution, multiple=64)
    plan = plan_edit(subject.size, subject.painted(), preset("recommended"), spec)
    assert subject.size.area > 1e6 and not subject.painted().all()
    assert len(plan.stages) > 1 or resolution >= subject.size.shortest
    assert drawn(128).picture.tobytes() == scene.draw_picture(scene.Scene()).tobytes()


class NotNumbers(PointwiseBackend):
    def denoise(self, *arguments: Any, **named: Any) -> torch.Tensor:
        return super().denoise(*arguments, **named) * torch.nan


class Blank(PointwiseBackend):
    def upscale(self, image: torch.Tensor, size: Size) -> torch.Tensor:
        return torch.full((1, 3, size.height, size.width), 0.4)


class Foreign(PointwiseBackend):
    def upscale(self, image: torch.Tensor, size: Size) -> torch.Tensor:
        return 1 - super().upscale(image, size)


class Small(PointwiseBackend):
    def upscale(self, image: torch.Tensor, size: Size) -> torch.Tensor:
        return image


class Broken(PointwiseBackend):
    def upscale(self, image: torch.Tensor, size: Size) -> torch.Tensor:
        raise RuntimeError("no kernel image in /home/ann/cuda")


class Drifts(PointwiseBackend):
    """Its decoder is another whenever it is looked at."""

    def decoder(self) -> PointwiseDecoder:
        self.tint += 1e-5
        return super().decoder()


class Differs(PointwiseBackend):
    def decoder(self) -> PointwiseDecoder:
        return PointwiseDecoder(0.2, self.mode)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return PointwiseDecoder(0.0, self.mode)(z).clamp(0, 1).detach()


class Untrainable(PointwiseBackend):
    def decoder(self) -> PointwiseDecoder:
        copy = super().decoder()
        copy.last.weight.register_hook(lambda slope: slope * torch.inf)
        return copy


@pytest.mark.edits
@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        (Blank, "upscaler", "one colour"),
        (Foreign, "upscaler", "another picture"),
        (Small, "upscaler", "128x128 pixels in place of 256x256"),
        (Broken, "upscaler", "RuntimeError: no kernel image"),
        (NotNumbers, "networks", "denoising gave numbers that are not finite"),
        (Drifts, "own decoder", "changed the model's own decoder"),
        (Differs, "decoder copy", "differs by 0.2"),
        (Untrainable, "decoder copy", "cannot be trained"),
    ],
)
def test_what_is_wrong_with_a_part_is_named(kind: type, name: str, words: str) -> None:
    assert words in failures(a_backend(kind))[name]


@pytest.mark.edits
def test_what_is_not_a_number_is_seen_even_if_the_engine_lets_it_pass(monkeypatch) -> None:
    monkeypatch.setattr("msbd.diffusion.finite", lambda numbers, source: numbers)
    monkeypatch.setattr("msbd.stage.finite", lambda numbers, source: numbers)
    assert "not finite" in failures(a_backend(NotNumbers))["networks"]


@pytest.mark.edits
def test_no_clip_fails_unless_nobody_wants_it() -> None:
    reason = "CLIP cannot be used: OSError: no network"
    blind = a_backend(blind=True)
    assert failures(blind, ranker=Ranker(reason=reason)) == {"CLIP": reason}
    assert failures(blind, ranker=Ranker(None, "no CLIP model is chosen")) == {}


@pytest.mark.edits
def test_a_damaged_clip_fails_and_the_rest_is_checked(tmp_path: Path) -> None:
    file = tmp_path / "clip.pt"
    file.write_bytes(b"not weights")
    ranker = ClipRanker(file)

    class Judged(PointwiseBackend):
        def score(self, images: torch.Tensor) -> torch.Tensor | None:
            return ranker.score(images, "a red star")

    failed = failures(a_backend(Judged), ranker=ranker)
    assert list(failed) == ["CLIP"] and "CLIP cannot be used" in failed["CLIP"]


def running_out(most: int) -> Callable[[Any], Any]:
    def fail(backend: Any) -> Any:
        denoise = backend.denoise

        def limited(z: torch.Tensor, *arguments: Any, **named: Any) -> torch.Tensor:
            if len(z) > most:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")
            return denoise(z, *arguments, **named)

        backend.denoise = limited
        return backend

    return fail


@pytest.mark.edits
@pytest.mark.parametrize("most", [0, 1])
def test_too_little_memory_fails_even_if_smaller_portions_find_room(most: int) -> None:
    failed = failures(running_out(most)(a_backend()), "fast")
    assert "denoising ran out of memory" in failed["memory"]
    assert ("edit" in failed) == (most == 0)


@pytest.mark.edits
@pytest.mark.parametrize(
    ("error", "also"),
    [(MemoryError("not enough memory"), {"memory"}), (EditError("not now"), set())],
)
def test_of_the_trials_faults_only_memory_is_told_again(error: Exception, also: set[str]) -> None:
    class Once(PointwiseBackend):
        def encode(self, image: torch.Tensor) -> torch.Tensor:
            if not self.failed:
                self.failed = True
                raise error
            return super().encode(image)

    backend = a_backend(Once)
    backend.failed = False
    assert failures(backend).keys() == {"autoencoder"} | also


@pytest.mark.edits
def test_decoder_optimisation_without_memory_fails() -> None:
    class Large(PointwiseDecoder):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            if z.shape[-1] > 16:
                raise MemoryError("not enough memory: you tried to allocate 99 GB")
            return super().forward(z)

    class Copies(PointwiseBackend):
        def decoder(self) -> Any:
            return Large(self.tint, self.mode)

        def decode(self, z: torch.Tensor) -> torch.Tensor:
            return PointwiseDecoder(self.tint, self.mode)(z).clamp(0, 1).detach()

    assert "memory" in failures(a_backend(Copies), "fast")["memory"]


@pytest.mark.edits
def test_a_changed_pixel_outside_and_an_unchanged_mask_are_seen() -> None:
    def spoiled(made: Made) -> Made:
        image = made.image.clone()
        image[..., 3, 4] = 1 - image[..., 3, 4]
        return Made(image, made.report)

    def unchanged(made: Made) -> Made:
        return Made(SUBJECT.image(), made.report)

    def told(made: Made) -> Made:
        return Made(made.image, {**made.report, "outside_max_difference": 2})

    assert "1 of" in failures(a_backend(), change=spoiled)["outside the mask"]
    assert "nothing was painted" in failures(a_backend(), change=unchanged)["inside the mask"]
    assert "2 levels" in failures(a_backend(), change=told)["outside the mask"]


@pytest.mark.edits
def test_the_next_preset_is_tried_after_a_failure_and_none_after_an_interruption() -> None:
    sound = performing(a_backend())

    def failing(name: str, wrap: Wrap) -> Made:
        if name == "paper":
            raise KeyError("surprise")
        if name == "draft":
            raise Interrupted
        return sound(name, wrap)

    said: list[str] = []
    done = examine(["paper", "fast", "draft", "recommended"], SUBJECT, failing, said.append)
    assert [(one.preset, one.failed) for one in done.presets] == [("paper", 1), ("fast", 0)]
    assert done.stopped and "KeyError: 'surprise'" in done.presets[0].findings[0].detail
    assert done.verdict.startswith("INTERRUPTED, so far FAILED: 1 of")
    assert said[0] == "checking preset paper (1 of 4)" and said[3] == "preset fast: ok"


def test_the_block_is_ascii_without_folders() -> None:
    finding = Finding(
        "model", False, "no file '/home/ann/secret plan/modèle.ckpt' at https://a.b/c"
    )
    other = Finding("upscaler", False, r"C:\Users\ann\x4.pth and ~/models/x.pth, ViT-L-14/openai")
    home = Finding("CLIP", True, f"kept in {Path.home() / 'My Files' / 'clip.pt'}")
    checked = Checked("fast", [other, home], {"all": 2.0, "denoising": 1.5})
    text = block(Examination([finding], [checked], 1), ["options: x"])
    lines = text.splitlines()
    assert text.isascii() and (lines[0], lines[-1]) == (BEGIN, END)
    assert not any(word in text for word in ("ann", "Users", "/models", str(Path.home())))
    assert "https://a.b/c" in text and "x4.pth and x.pth, ViT-L-14/openai" in text
    assert lines[-2] == "verdict: FAILED: 2 of 3 checks, 1 of 1 presets"
    assert "seconds" in lines[-3] and "denoising 1.5" in lines[-3]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("'/data/Jane Doe/my models/v1.safetensors' is gone", "'v1.safetensors' is gone"),
        ("/data/Jane Doe/my models/v1.safetensors: denied", "v1.safetensors: denied"),
        ("OSError: 'C:\\\\Users\\\\Jane Doe\\\\x.pth'", "OSError: 'x.pth'"),
        (r"C:\Users\Jane Doe\x.pth, ~/Jane/y.pt and z", "x.pth, y.pt and z"),
        (r"\\server\Jane Doe\x.pth", "x.pth"),
        ("x4.pth of https://a.b/c/d.pth", "x4.pth of https://a.b/c/d.pth"),
        ("ViT-L-14/openai, 3 / 4, and/or", "ViT-L-14/openai, 3 / 4, and/or"),
    ],
)
def test_of_a_path_only_the_last_name_is_told(said: str, told: str) -> None:
    text = block(Examination([Finding("x", False, said)], [], 1), [])
    assert text.splitlines()[1].endswith(f"FAILED: {told}")


class Checkpoint:
    """What the command reads of a loaded model."""

    class unet:
        dtype = torch.float32


@pytest.fixture
def sound(model: Model) -> Model:
    """The pointwise model in place of the embedded one, with all that the command reads."""
    model.backend = a_backend()
    model.ranker, model.checkpoint = ClipRanker("none.pt"), Checkpoint
    model.device = torch.device("cpu")
    return model


@pytest.mark.edits
def test_the_command_prints_and_writes_one_block(desk: Desk, sound: Model) -> None:
    out = desk.folder / "block.txt"
    assert desk.msbd("check", "--quiet", "-o", out, "--preset", "draft", "--preset", "fast") == 0
    text = desk.stdout[desk.stdout.index(BEGIN) :].removesuffix(f"wrote {out}\n")
    assert text == out.read_text() and text.endswith(f"{END}\n")
    assert "checkpoint fake.safetensors" in text and "preset draft: ok" in text
    assert str(desk.folder) not in text and sound.bound[0] not in text
    assert desk.stdout.count("checking preset") == 2 and "verdict: ok, 2 of 2 presets" in text


def test_every_preset_is_checked_unless_some_are_named(desk: Desk, sound: Model, monkeypatch):
    asked: list[str] = []

    def edit(self: Any, name: str, wrap: Wrap) -> Made:
        asked.append(name)
        raise EditError("not now")

    monkeypatch.setattr(checking._Desk, "edit", edit)
    assert desk.msbd("check", "--quiet") == 1
    assert asked == list(PRESETS) and desk.stdout.count("FAILED: not now") == len(PRESETS)


@pytest.mark.edits
def test_ctrl_c_prints_what_was_checked_so_far(desk: Desk, sound: Model) -> None:
    sound.backend.before = lambda samples: (
        os.kill(os.getpid(), signal.SIGINT) if sound.backend.samples > 30 else None
    )
    assert desk.msbd("check", "--quiet", "--preset", "draft") == 130
    assert "verdict: INTERRUPTED, so far ok, 0 of 1 presets" in desk.stdout


def test_missing_files_are_bad_input(desk: Desk, sound: Model) -> None:
    for name in ("--checkpoint", "--upscaler", "--clip"):
        assert desk.msbd("check", name, desk.folder / "gone.pth") == 2
        assert desk.refused("gone.pth")
    assert desk.msbd("check", "-o", desk.folder / "no" / "b.txt") == 2 and desk.refused("folder")
    assert not sound.loaded


def miniature_checked(*arguments: object) -> subprocess.CompletedProcess[str]:
    """`msbd check` as a program, with the embedded miniature."""
    command = [sys.executable, "-m", "msbd", "check", "--quiet", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_miniature_passes_by_every_preset() -> None:
    ran = miniature_checked()
    assert ran.returncode == 0 and not ran.stderr, ran
    assert all(f"preset {name}: ok" in ran.stdout for name in PRESETS)


def test_a_checkpoint_that_gives_nan_fails(tmp_path: Path) -> None:
    weights = load_file(models.MINIATURE)
    weights["model.diffusion_model.out.2.bias"].fill_(torch.nan)
    checkpoint = tmp_path / "nan.safetensors"
    save_file(weights, checkpoint)
    checkpoint.with_suffix(".yaml").write_text(models.MINIATURE.with_suffix(".yaml").read_text())
    ran = miniature_checked("--checkpoint", checkpoint, "--clip", "none", "--preset", "draft")
    assert ran.returncode == 1 and not ran.stderr, ran
    assert "networks          FAILED: denoising: " in ran.stdout
    assert "edit              FAILED: " in ran.stdout and "left out" in ran.stdout


@pytest.fixture
def real(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """The desk with the embedded miniature."""
    monkeypatch.undo()
    return desk


def test_a_damaged_upscaler_fails(real: Desk) -> None:
    file = real.folder / "x4.pth"
    file.write_bytes(models.MINIATURE_UPSCALER.read_bytes()[:5000])
    assert real.msbd("check", "--upscaler", file, "--preset", "draft", "--quiet") == 1
    assert "model             FAILED: x4.pth is damaged" in real.stdout
    assert "verdict: FAILED: 1 of 1 checks, 0 of 1 presets" in real.stdout


def test_too_little_memory_to_load_fails(real: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any, **__: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("msbd.standalone.model.load_checkpoint", load)
    assert real.msbd("check", "--quiet") == 1
    assert "model             FAILED: not enough memory to load the model" in real.stdout
