"""Checkpoints: which there are, which is loaded, and changing it."""

from modules import script_callbacks, shared

checkpoints_list = {}
checkpoint_aliases = {}


class CheckpointInfo:
    def __init__(self, filename):
        self.filename = filename
        self.name = filename.rsplit("/", 1)[-1]
        self.name_for_extra = self.model_name = self.name.rsplit(".", 1)[0]
        self.title = self.short_title = self.name
        self.shorthash = None
        self.ids = [self.name, self.name_for_extra, self.title]

    def register(self):
        checkpoints_list[self.title] = self
        for name in self.ids:
            checkpoint_aliases[name] = self


class SdModelData:
    def __init__(self):
        self.sd_model = None
        self.loaded_sd_models = []
        self.was_loaded_at_least_once = False

    def get_sd_model(self):
        return self.sd_model

    def set_sd_model(self, v, already_loaded=False):
        """The host's `shared.sd_model` is a property that asks here."""
        self.sd_model = shared.sd_model = v
        if v not in self.loaded_sd_models:
            self.loaded_sd_models.insert(0, v)


model_data = SdModelData()


def get_closet_checkpoint_match(search_string):
    exact = checkpoint_aliases.get(search_string)
    similar = (info for title, info in checkpoints_list.items() if search_string in title)
    return exact or next(similar, None)


def select_checkpoint():
    chosen = checkpoint_aliases.get(shared.opts.sd_model_checkpoint)
    return chosen or next(iter(checkpoints_list.values()))


def reload_model_weights(sd_model=None, info=None, forced_reload=False):
    """Loads the checkpoint of the settings, or `info`, unless it is loaded already."""
    wanted = info or select_checkpoint()
    if model_data.sd_model.sd_model_checkpoint != wanted.filename:
        loaded = next(
            m for m in model_data.loaded_sd_models if m.sd_model_checkpoint == wanted.filename
        )
        model_data.set_sd_model(loaded)
        script_callbacks.model_loaded_callback(loaded)
    return model_data.sd_model


def apply_token_merging(sd_model, token_merging_ratio):
    if getattr(sd_model, "applied_token_merged_ratio", 0) != token_merging_ratio:
        sd_model.applied_token_merged_ratio = token_merging_ratio


def apply_alpha_schedule_override(sd_model, p=None):
    sd_model.alphas_cumprod = sd_model.alphas_cumprod_original.to(shared.device)
