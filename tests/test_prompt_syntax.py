"""The WebUI's notation in prompts, and what the text encoder makes of it."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from msbd.errors import EditError
from msbd.standalone import prompt as prompts
from msbd.standalone.model import StandaloneModel
from msbd.standalone.models import MINIATURE
from msbd.standalone.prompt_syntax import BREAK, plain_words, unsupported, weighted_parts

WORDS = some.text("abc ,.:BREAK\\()[]<>|1", max_size=30)
PLAIN = some.text("abc ,.", min_size=1, max_size=8)


def escaped(text: str) -> str:
    return re.sub(r"([\\()\[\]])", r"\\\1", text)


@given(WORDS)
def test_escaped_signs_are_words(text: str) -> None:
    if "BREAK" not in text and not re.search(r"<\w+:", text):
        assert weighted_parts(escaped(text)) == [(text, 1.0)]


@given(WORDS)
def test_anything_can_be_read(text: str) -> None:
    try:
        parts = weighted_parts(text)
    except EditError as error:
        assert "is no number" in str(error)
        return
    assert parts and all(one[1] != other[1] for one, other in pairwise(parts))
    assert plain_words(text) == " ".join(plain_words(text).split())


@given(PLAIN, some.lists(some.sampled_from("([:"), max_size=5))
def test_weights_multiply(words: str, nested: list[str]) -> None:
    text, weight = words, 1.0
    for sign in nested:
        text = {"(": f"({text})", "[": f"[{text}]", ":": f"({text}: 1.5 )"}[sign]
        weight *= {"(": 1.1, "[": 1 / 1.1, ":": 1.5}[sign]
    ((found, value),) = weighted_parts(text)
    assert found == words and value == pytest.approx(weight)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [("", 1.0)]),
        ("(open", [("open", 1.1)]),
        ("shut) too]", [("shut) too]", 1.0)]),
        ("(one)(two)", [("onetwo", 1.1)]),
        ("a ((b:1.2) [c", [("a ", 1.0), ("b", 1.32), (" ", 1.1), ("c", 1.0)]),
        ("one BREAK two", [("one", 1.0), BREAK, ("two", 1.0)]),
        ("BREAKER", [("BREAKER", 1.0)]),
        ("a \\(b:1.3\\)", [("a (b:1.3)", 1.0)]),
        ("a: b", [("a: b", 1.0)]),
        ("a <lora:x:1>b", [("a b", 1.0)]),
    ],
)
def test_examples(text: str, expected: list[tuple[str, float]]) -> None:
    found = weighted_parts(text)
    assert [words for words, _ in found] == [words for words, _ in expected]
    assert [weight for _, weight in found] == pytest.approx([weight for _, weight in expected])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a (star:1.3) [on] \\[grass\\] 1:2", []),
        ("a [dog (x:1.2)]", []),
        ("a <lora:x:1> <hypernet:y:0.5>", ["<lora:x:1>, <hypernet:y:0.5>"]),
        ("a [dog:cat:0.5]", ["[dog:cat:0.5]"]),
        ("a [dog|cat]", ["[dog|cat]"]),
        ("a dog AND a cat", ["AND"]),
        ("SAND", []),
    ],
)
def test_what_only_the_webui_can_do_is_said(text: str, said: list[str]) -> None:
    found = list(unsupported(text))
    assert len(found) == len(said)
    assert all(note.startswith(words) for note, words in zip(found, said, strict=True))


def lengths(text: str) -> list[int]:
    """Words in each chunk."""
    end = prompts.tokenizer().eot_token_id
    ids = [[token for token, _ in chunk] for chunk in prompts.chunks(text)]
    assert all(len(one) == prompts.POSITIONS for one in ids)
    return [one.index(end) - 1 for one in ids]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("word " * 75, [75]),
        ("word " * 76, [75, 1]),
        ("word " * 60 + ", " + "word " * 30, [61, 30]),
        ("word " * 50 + ", " + "word " * 30, [75, 6]),
        ("word " * 75 + ", word", [75, 2]),
        ("one BREAK two two", [1, 2]),
        ("BREAK one", [0, 1]),
        ("one BREAK", [1]),
        ("word " * 160, [75, 75, 10]),
    ],
)
def test_long_prompts_are_divided(text: str, expected: list[int]) -> None:
    assert lengths(text) == expected


@pytest.fixture(scope="module")
def encoder() -> torch.nn.Module:
    return StandaloneModel.load(MINIATURE, clip=None, device="cpu").checkpoint.text_encoder


def encoded(encoder: torch.nn.Module, *texts: str) -> torch.Tensor:
    return prompts.encode(encoder, texts)


def test_emphasis_moves_the_words_and_keeps_the_mean(encoder: torch.nn.Module) -> None:
    plain = encoded(encoder, "a red star on grass")
    words = encoded(encoder, "a (red) star on grass"), encoded(encoder, "a (red:1.1) star on grass")
    assert torch.equal(*words)
    assert words[0].mean() == pytest.approx(plain.mean().item(), abs=1e-6)
    ratio = (words[0] / plain)[0, :, 0]
    assert ratio[2] / ratio[1] == pytest.approx(1.1, rel=1e-4)
    assert torch.allclose(ratio[3:], ratio[1], rtol=1e-4)
    assert torch.equal(encoded(encoder, "a (red:1) star on grass"), plain)


def test_where_emphasis_distorts_all_it_is_said(encoder: torch.nn.Module, caplog) -> None:
    """The mean of the miniature's states is nearly 0, and the WebUI restores it all the same."""
    encoded(encoder, "a red star on grass")
    assert not caplog.records
    encoded(encoder, "a (red:1.5) star on grass")
    assert "takes emphasis badly" in caplog.text


def test_shorter_prompts_are_filled_up(encoder: torch.nn.Module) -> None:
    both = encoded(encoder, "", "word " * 80)
    assert both.shape[:2] == (2, 2 * prompts.POSITIONS)
    empty = encoded(encoder, "")
    assert torch.equal(both[:1], torch.cat([empty, empty], dim=1))
    first, second = encoded(encoder, "word " * 75), encoded(encoder, "word " * 5)
    assert torch.equal(both[1:], torch.cat([first, second], dim=1))
    divided = encoded(encoder, "a star BREAK on grass")
    parts = [encoded(encoder, text) for text in ("a star", "on grass")]
    assert torch.equal(divided, torch.cat(parts, dim=1))
