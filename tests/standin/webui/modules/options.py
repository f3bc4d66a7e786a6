"""Settings: what is known of each, and their values."""

from modules.shared_cmd_options import cmd_opts


class OptionInfo:
    def __init__(
        self, default=None, label="", component=None, component_args=None, onchange=None,
        section=None, refresh=None, comment_before="", comment_after="", infotext=None,
        restrict_api=False, category_id=None,
    ):  # fmt: skip
        self.default = default
        self.label = label
        self.component = component
        self.component_args = component_args
        self.onchange = onchange
        self.section = section
        self.category_id = category_id
        self.refresh = refresh
        self.do_not_save = False
        self.comment_before = comment_before
        self.comment_after = comment_after
        self.infotext = infotext
        self.restrict_api = restrict_api

    def link(self, label, url):
        self.comment_before += f"[{label}: {url}]"
        return self

    def info(self, info):
        self.comment_after += f"({info})"
        return self

    def html(self, html):
        self.comment_after += html
        return self

    def needs_restart(self):
        return self

    def needs_reload_ui(self):
        return self


def options_section(section_identifier, options_dict):
    for info in options_dict.values():
        info.section = section_identifier[:2]
        info.category_id = section_identifier[2] if len(section_identifier) > 2 else None
    return options_dict


options_builtin_fields = {"data_labels", "data", "restricted_opts", "typemap"}


class Options:
    typemap = {int: float}  # noqa: RUF012

    def __init__(self, data_labels, restricted_opts):
        self.data_labels = data_labels
        self.data = {key: info.default for key, info in data_labels.items()}
        self.restricted_opts = restricted_opts

    def __setattr__(self, key, value):
        known = key not in options_builtin_fields and self.data is not None
        if known and (key in self.data or key in self.data_labels):
            assert not cmd_opts.freeze_settings, "changing settings is disabled"
            self.data[key] = value
        else:
            super().__setattr__(key, value)

    def __getattr__(self, item):
        if item in options_builtin_fields:
            raise AttributeError(item)
        if item in self.data:
            return self.data[item]
        if item in self.data_labels:
            return self.data_labels[item].default
        raise AttributeError(item)

    def set(self, key, value, is_api=False, run_callbacks=True):
        info, before = self.data_labels[key], self.data.get(key)
        if before == value or (is_api and info.restrict_api):
            return False
        setattr(self, key, value)
        if run_callbacks and info.onchange is not None:
            info.onchange()
        return True

    def get_default(self, key):
        return self.data_labels[key].default if key in self.data_labels else None

    def onchange(self, key, func, call=True):
        self.data_labels[key].onchange = func
        if call:
            func()

    def add_option(self, key, info):
        self.data_labels[key] = info
        self.data.setdefault(key, info.default)
