"""Components as the settings panel and the controls name them; nothing is ever shown."""


class _Component:
    def __init__(self, value=None, **facts):
        self.value = value
        self.facts = facts

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


class Slider(_Component):
    pass


class Radio(_Component):
    pass


class Dropdown(_Component):
    pass


class Checkbox(_Component):
    pass


class Textbox(_Component):
    pass


class Number(_Component):
    pass


class HTML(_Component):
    pass


class Blocks(_Component):
    pass


def update(**facts):
    return {**facts, "__type__": "generic_update"}
