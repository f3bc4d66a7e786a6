"""Writing and reading the text that says how a picture was made."""

import json
import re
import sys

sys.modules["modules.generation_parameters_copypaste"] = sys.modules[__name__]
_FIELD = re.compile(r"(\w[\w /-]+):\s*(?:(\"(?:[^\"\\]|\\.)+\")|([^,]*))(?=,|$)")
_SIZE = re.compile(r"(\d+)x(\d+)")


def quote(text):
    return json.dumps(text, ensure_ascii=False) if set(str(text)) & set(",\n:") else text


def unquote(text):
    if len(text) < 2 or not text[0] == text[-1] == '"':
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def parse_generation_parameters(x, skip_fields=None):
    """The fields by key; what looks like a size becomes two of them."""
    *lines, last = x.strip().split("\n")
    if len(_FIELD.findall(last)) < 3:
        lines, last = [*lines, last], ""
    found = {}
    for key, quoted, plain in _FIELD.findall(last):
        value = unquote(quoted) if quoted else plain
        size = _SIZE.fullmatch(value)
        found |= {f"{key}-1": size[1], f"{key}-2": size[2]} if size else {key: value}
    prompt, _, negative = "\n".join(lines).partition("Negative prompt:")
    return {**found, "Prompt": prompt.strip(), "Negative prompt": negative.strip()}
