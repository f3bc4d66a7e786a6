"""Checkpoints: which there are, which is loaded, and changing it."""

import threading

from modules import errors, script_callbacks, shared

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
    """Behind `shared.sd_model`, which is None while a checkpoint is changed and after that failed.

    lock: held by whoever loads the first one, until all of it is there.
    """

    def __init__(self):
        self.sd_model = None
        self.loaded_sd_models = []
        self.was_loaded_at_least_once = False
        self.lock = threading.Lock()

    def get_sd_model(self):
        """Tries to load one as long as there was none; what goes wrong is told in the console."""
        if self.sd_model is None and not self.was_loaded_at_least_once:
            with self.lock:
                if self.sd_model is None:
                    try:
                        load_model()
                    except Exception as error:
                        errors.display(error, "loading stable diffusion model")
        return self.sd_model

    def set_sd_model(self, v, already_loaded=False):
        self.sd_model = v
        if v is not None and v not in self.loaded_sd_models:
            self.loaded_sd_models.insert(0, v)


model_data = SdModelData()


def load_model(checkpoint_info=None, already_loaded_state_dict=None):
    raise FileNotFoundError("the stand-in's checkpoints are no files")


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
