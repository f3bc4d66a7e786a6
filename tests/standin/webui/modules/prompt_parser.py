"""Prompts and what the network is given for them at each step."""

import re
from collections import namedtuple

import torch

ScheduledPromptConditioning = namedtuple("ScheduledPromptConditioning", ["end_at_step", "cond"])
_EDITED = re.compile(r"\[([^\[\]:|]*):(?:([^\[\]:|]*):)?\s*([\d.]+)\s*\]")
_PIECE = re.compile(r"[()\[\]]|:\s*[+-]?[.\d]+\s*\)|[^()\[\]:]+|:")


def get_learned_conditioning_prompt_schedules(
    prompts, base_steps, hires_steps=None, use_old_scheduling=False
):
    """Per prompt a list of [last step, text]; `[from:to:when]` and `[to:when]` without nesting."""

    def at(prompt, step):
        def chosen(match):
            before, after, when = match[1], match[2], _when(match[3], base_steps)
            if after is None:
                before, after = "", before
            return before if step <= when else after

        return _EDITED.sub(chosen, prompt)

    def schedule(prompt):
        changes = {_when(match[3], base_steps) for match in _EDITED.finditer(prompt)}
        ends = sorted({n for n in changes if 0 < n < base_steps} | {base_steps})
        return [[end, at(prompt, end)] for end in ends]

    return [schedule(prompt) for prompt in prompts]


def _when(text, steps):
    return int(float(text) * steps) if "." in text else int(text)


class SdConditioning(list):
    """Prompts, and the size they are for."""

    def __init__(self, prompts, is_negative_prompt=False, width=None, height=None, copy_from=None):
        super().__init__(prompts)
        source = prompts if copy_from is None else copy_from
        self.is_negative_prompt = is_negative_prompt or getattr(source, "is_negative_prompt", False)
        self.width = width or getattr(source, "width", None)
        self.height = height or getattr(source, "height", None)


def get_learned_conditioning(model, prompts, steps, hires_steps=None, use_old_scheduling=False):
    """Per prompt its `ScheduledPromptConditioning`s."""
    result = []
    for schedule in get_learned_conditioning_prompt_schedules(prompts, steps):
        texts = SdConditioning([text for _, text in schedule], copy_from=prompts)
        conds = model.get_learned_conditioning(texts)
        ends = (end for end, _ in schedule)
        result.append([ScheduledPromptConditioning(*pair) for pair in zip(ends, conds)])  # noqa: B905
    return result


def get_multicond_prompt_list(prompts):
    """Splits prompts at AND: per prompt (index, weight)s; all texts once; each text's index."""
    indexes, flat, known = [], SdConditioning(prompts), {}
    flat.clear()
    for prompt in prompts:
        parts = []
        for part in re.split(r"\bAND\b", prompt):
            text, weight = re.fullmatch(r"(.*?)(?:\s*:\s*([-+]?[\d.]+))?\s*", part, re.S).groups()
            if text not in known:
                known[text] = len(flat)
                flat.append(text)
            parts.append((known[text], 1.0 if weight is None else float(weight)))
        indexes.append(parts)
    return indexes, flat, known


class ComposableScheduledPromptConditioning:
    def __init__(self, schedules, weight=1.0):
        self.schedules = schedules
        self.weight = weight


class MulticondLearnedConditioning:
    def __init__(self, shape, batch):
        self.shape = shape
        self.batch = batch


def get_multicond_learned_conditioning(
    model, prompts, steps, hires_steps=None, use_old_scheduling=False
):
    indexes, flat, _ = get_multicond_prompt_list(prompts)
    learned = get_learned_conditioning(model, flat, steps, hires_steps, use_old_scheduling)
    batch = [
        [ComposableScheduledPromptConditioning(learned[index], weight) for index, weight in parts]
        for parts in indexes
    ]
    return MulticondLearnedConditioning((len(prompts),), batch)


def _due(schedule, step):
    """The first entry that still holds at `step`; past the end, the first of all."""
    return next((e.cond for e in schedule if step <= e.end_at_step), schedule[0].cond)


def reconstruct_cond_batch(c, current_step):
    return torch.stack([_due(schedule, current_step) for schedule in c])


def reconstruct_multicond_batch(c, current_step):
    """Per picture (index into the tensor, weight)s; the tensor of all conditionings."""
    places, tensors = [], []
    for parts in c.batch:
        places.append([(len(tensors) + n, part.weight) for n, part in enumerate(parts)])
        tensors += [_due(part.schedules, current_step) for part in parts]
    return places, torch.stack(tensors)


def parse_prompt_attention(text):
    """[text, weight]s; the brackets' weights multiply."""
    pieces, round_open, square_open = [], [], []

    def weigh(start, factor):
        for piece in pieces[start:]:
            piece[1] *= factor

    for piece in _PIECE.findall(text):
        if piece == "(":
            round_open.append(len(pieces))
        elif piece == "[":
            square_open.append(len(pieces))
        elif piece[0] == ":" and piece[-1] == ")" and round_open:
            weigh(round_open.pop(), float(piece[1:-1]))
        elif piece == ")" and round_open:
            weigh(round_open.pop(), 1.1)
        elif piece == "]" and square_open:
            weigh(square_open.pop(), 1 / 1.1)
        else:
            for number, part in enumerate(re.split(r"\s*\bBREAK\b\s*", piece)):
                pieces += [["BREAK", -1]] * (number > 0) + [[part, 1.0]] * bool(part)
    for start in (*round_open, *square_open):
        weigh(start, 1.1)
    merged = []
    for words, weight in pieces or [["", 1.0]]:
        if merged and merged[-1][1] == weight:
            merged[-1][0] += words
        else:
            merged.append([words, weight])
    return merged
