"""The host's upscalers: whatever its tiles are, whatever goes wrong, and numbers that are none."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from standin import Host, installed
from standin.desk import THREE_STAGES, before, edited, inside, photograph, pixels, reports, request
from torch.nn.modules import module as networks

from msbd.errors import EditError, Interrupted
from msbd.geometry import Size

TILES = (0, 16, 32, 48, 64, 192)
OVERLAPS = (0, 1, 8, 15, 16, 23, 24, 31, 32, 47, 48, 64)
NAME = "R-ESRGAN 4x+"
OVERFLOWING = 2.0**20
NAN = float("nan")
THROUGH = [
    torch.cuda.OutOfMemoryError("CUDA out of memory"),
    MemoryError(),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes"),
]


@pytest.fixture
def host() -> Iterator[Host]:
    with installed() as started:
        yield started


def upscaler() -> Any:
    from msbd.webui.hosts.upscaling import load_upscaler

    return load_upscaler(NAME)


def try_it() -> None:
    from msbd.webui.hosts.upscaling import ensure_it_works

    ensure_it_works(upscaler())


def picture(height: int, width: int) -> torch.Tensor:
    levels = np.asarray(photograph(height, width), np.float32) / 255
    return torch.from_numpy(levels).permute(2, 0, 1)[None]


def large(height: int = 24, width: int = 32) -> torch.Tensor:
    return upscaler()(picture(height, width), Size(4 * height, 4 * width))


def set_tiles(host: Host, tile: int, overlap: int, owner: str = "ESRGAN") -> None:
    host.shared.opts.data[f"{owner}_tile"] = tile
    host.shared.opts.data[f"{owner}_tile_overlap"] = overlap


def let(monkeypatch: pytest.MonkeyPatch, host: Host, upscale: Any) -> None:
    """`upscale(the original, picture, path)` in place of the upscaler's own work."""
    kind = host.realesrgan_model.UpscalerRealESRGAN
    own = kind.do_upscale
    monkeypatch.setattr(kind, "do_upscale", lambda *given: upscale(own, *given))


def weigh(host: Host, weight: float) -> None:
    host.realesrgan_model._weight = weight


class TestTiles:
    @pytest.mark.parametrize("tile", TILES)
    @pytest.mark.parametrize("overlap", OVERLAPS)
    def test_any_setting_works_or_is_refused_by_its_name(self, host, tile, overlap):
        set_tiles(host, tile, overlap)
        if 0 < tile <= overlap:
            words = f"tile overlap of ESRGAN.* {overlap}, must be smaller.* {tile}: .*→ Upscaling"
            for act in (try_it, large):
                with pytest.raises(EditError, match=words):
                    act()
        else:
            try_it()

    @settings(max_examples=60, deadline=None,
              suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
    @given(
        tile=st.sampled_from(TILES[1:]),
        overlap=st.sampled_from(OVERLAPS),
        height=st.integers(1, 80),
        width=st.integers(1, 80),
    )
    def test_the_picture_is_the_same_in_tiles(self, host, tile, overlap, height, width):
        """But for the rounding where tiles fade into each other."""
        set_tiles(host, 0, 0)
        whole = large(height, width)
        set_tiles(host, tile, overlap)
        if overlap < tile:
            assert (large(height, width) - whole).abs().max() <= 1.01 / 255
        set_tiles(host, 0, overlap)
        assert torch.equal(large(height, width), whole)

    @pytest.mark.parametrize(
        ("kind", "owner"),
        [("ESRGAN", "ESRGAN"), ("HAT", "ESRGAN"), ("DAT", "DAT"), ("SwinIR", "SWIN"),
         ("ScuNET", "SCUNET")],
    )  # fmt: skip
    def test_each_kind_has_its_own_settings(self, host, kind, owner):
        own = upscaler()
        own.host.scaler.name = kind
        set_tiles(host, 16, 16, owner)
        with pytest.raises(EditError, match=f"tile overlap of {owner} upscalers"):
            own.enlarged(photograph(24, 24))
        set_tiles(host, 64, 40, owner)
        assert own.tiles == (64, 40) and own.trial_side == 48

    def test_one_that_has_no_tiles_is_not_refused_for_them(self, host, monkeypatch):
        upscaler().host.scaler.name = "Other"
        set_tiles(host, 16, 48)
        let(
            monkeypatch, host, lambda own, _, image, path: image.resize([4 * s for s in image.size])
        )
        try_it()

    def test_one_that_does_not_tell_its_factor_enlarges_by_four(self, host):
        upscaler().host.scale = None
        assert upscaler().factor == 4.0


class TestFailures:
    def test_the_upscalers_own_words_are_told(self, host, monkeypatch):
        def fail(*_: Any) -> Any:
            raise KeyError("conv_first.weight\nand more")

        let(monkeypatch, host, fail)
        words = (
            r"'R-ESRGAN 4x\+' does not work \(KeyError: .*conv_first.weight.*\): see the console"
        )
        for act in (try_it, large):
            with pytest.raises(EditError, match=words):
                act()

    def test_the_first_line_of_them_will_do(self, host, monkeypatch):
        def fail(*_: Any) -> Any:
            raise ValueError("damaged\nin line 7")

        let(monkeypatch, host, fail)
        with pytest.raises(EditError, match=r"\(ValueError: damaged\)"):
            try_it()

    def test_what_an_upscaler_of_others_gives_instead_of_a_picture(self, host, monkeypatch):
        monkeypatch.setattr(upscaler().host.scaler, "upscale", lambda *_: None, raising=False)
        with pytest.raises(EditError, match=r"\(AttributeError: 'NoneType'.*'convert'\)"):
            try_it()

    @pytest.mark.parametrize("error", THROUGH, ids=lambda error: type(error).__name__)
    def test_too_little_memory_is_for_the_edit_to_mend(self, host, monkeypatch, error):
        def fail(*_: Any) -> Any:
            raise error

        let(monkeypatch, host, fail)
        with pytest.raises(type(error)):
            large()

    @pytest.mark.parametrize("error", THROUGH, ids=lambda error: type(error).__name__)
    def test_before_the_edit_it_is_for_the_user(self, host, monkeypatch, error):
        def fail(*_: Any) -> Any:
            raise error

        let(monkeypatch, host, fail)
        with pytest.raises(EditError, match=r"not enough memory for the upscaler.*smaller tiles"):
            try_it()

    def test_nothing_is_known_of_one_that_is_interrupted(self, host):
        host.shared.state.interrupt()
        try_it()
        with pytest.raises(Interrupted):
            large()


class TestNumbers:
    def test_an_overflow_in_half_precision_is_mended(self, host, caplog):
        usual = large()
        host.shared.cmd_opts.no_half = False
        weigh(host, OVERFLOWING)
        assert torch.equal(large(), usual)
        try_it()
        assert host.shared.cmd_opts.no_half is False
        assert "'R-ESRGAN 4x+' gives numbers that are not finite" in caplog.text

    def test_half_precision_is_used_while_it_suffices(self, host, monkeypatch):
        precisions = []

        def seen(own: Any, *given: Any) -> Any:
            precisions.append(host.shared.cmd_opts.no_half)
            return own(*given)

        host.shared.cmd_opts.no_half = False
        let(monkeypatch, host, seen)
        large()
        weigh(host, OVERFLOWING)
        large()
        assert precisions == [False, False, True]

    @pytest.mark.parametrize("weight", [NAN, float("inf"), 0.0])
    def test_what_is_no_number_in_single_precision_either_is_refused(self, host, weight):
        weigh(host, weight)
        words = r"'R-ESRGAN 4x\+' gives numbers that are not finite, .*choose another"
        for act in (try_it, large):
            with pytest.raises(EditError, match=words):
                act()

    @pytest.mark.edits
    def test_the_stages_before_are_kept(self, host):
        host.before_call(lambda _: weigh(host, NAN))  # the upscaler was tried before
        p = request(host, **THREE_STAGES)
        result = edited(host, p)
        (report,) = reports(result)
        assert report["interrupted"] and len(report["stages"]) == 1
        assert any("not finite" in note and NAME in note for note in report["notes"])
        assert (pixels(result.images[0]) != before(p))[inside(p)].any()

    @pytest.mark.edits
    def test_an_edit_goes_on_in_single_precision(self, host):
        usual = pixels(edited(host, request(host, **THREE_STAGES)).images[0])
        host.shared.cmd_opts.no_half = False
        weigh(host, OVERFLOWING)
        result = edited(host, request(host, **THREE_STAGES))
        assert (pixels(result.images[0]) == usual).all() and not reports(result)[0]["interrupted"]

    @pytest.mark.parametrize("weight", [1.0, OVERFLOWING, NAN])
    @pytest.mark.parametrize("fails", [False, True])
    def test_everything_borrowed_is_given_back(self, host, monkeypatch, weight, fails):
        def upscale(own: Any, *given: Any) -> Any:
            if fails and (host.shared.cmd_opts.no_half or weight == 1.0):
                raise KeyboardInterrupt
            return own(*given)

        host.shared.cmd_opts.no_half = False
        weigh(host, weight)
        let(monkeypatch, host, upscale)
        randomness = torch.get_rng_state()
        with suppress(EditError, KeyboardInterrupt):
            large()
        assert host.shared.cmd_opts.no_half is False
        assert not networks._global_forward_hooks
        assert torch.equal(torch.get_rng_state(), randomness)

    def test_networks_of_other_threads_are_none_of_its_business(self, host, monkeypatch):
        """A live preview is one."""

        def upscale(own: Any, *given: Any) -> Any:
            pictures = torch.full((1, 3, 8, 8), NAN)
            preview = threading.Thread(target=torch.nn.Identity(), args=(pictures,))
            preview.start()
            preview.join()
            return own(*given)

        usual = large()
        let(monkeypatch, host, upscale)
        assert torch.equal(large(), usual)

    @pytest.mark.parametrize(
        "output",
        [
            torch.full((1, 4, 8, 8), NAN),
            torch.full((3, 8, 8), NAN),
            torch.ones((1, 3, 8, 8), dtype=torch.int64),
            (torch.full((1, 3, 8, 8), NAN),),
            None,
        ],
        ids=["latents", "no batch", "integers", "several", "nothing"],
    )
    def test_only_pictures_are_looked_at(self, host, monkeypatch, output):
        def upscale(own: Any, *given: Any) -> Any:
            torch.nn.Identity()(output)
            return own(*given)

        let(monkeypatch, host, upscale)
        try_it()
