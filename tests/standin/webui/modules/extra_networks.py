"""`<name:arguments>` in prompts, such as LoRA."""

import re
from collections import defaultdict

extra_network_registry = {}
_WRITTEN = re.compile(r"<(\w+):([^>]+)>")


class ExtraNetworkParams:
    def __init__(self, items=None):
        self.items = items or []
        self.positional = [item for item in self.items if "=" not in item]
        self.named = dict(item.split("=", 1) for item in self.items if "=" in item)

    def __eq__(self, other):
        return self.items == other.items


class ExtraNetwork:
    def __init__(self, name):
        self.name = name

    def activate(self, p, params_list):
        raise NotImplementedError

    def deactivate(self, p):
        raise NotImplementedError


def register_extra_network(extra_network):
    extra_network_registry[extra_network.name] = extra_network


def activate(p, extra_network_data):
    for name, network in extra_network_registry.items():
        network.activate(p, extra_network_data.get(name, []))


def deactivate(p, extra_network_data):
    for network in extra_network_registry.values():
        network.deactivate(p)


def parse_prompt(prompt):
    found = defaultdict(list)
    for name, arguments in _WRITTEN.findall(prompt):
        found[name].append(ExtraNetworkParams(arguments.split(":")))
    return _WRITTEN.sub("", prompt), found


def parse_prompts(prompts):
    """The plain prompts, and the first one's networks for all."""
    parsed = [parse_prompt(prompt) for prompt in prompts]
    return [text for text, _ in parsed], parsed[0][1] if parsed else None
