"""Callbacks of other people's scripts, by occasion."""

from modules import errors

callback_map = {
    name: []
    for name in (
        "callbacks_app_started",
        "callbacks_model_loaded",
        "callbacks_ui_settings",
        "callbacks_before_ui",
        "callbacks_script_unloaded",
        "callbacks_cfg_denoiser",
        "callbacks_cfg_denoised",
        "callbacks_cfg_after_cfg",
    )
}


class CFGDenoiserParams:
    def __init__(
        self, x, image_cond, sigma, sampling_step, total_sampling_steps, text_cond, text_uncond,
        denoiser=None,
    ):  # fmt: skip
        self.x = x
        self.image_cond = image_cond
        self.sigma = sigma
        self.sampling_step = sampling_step
        self.total_sampling_steps = total_sampling_steps
        self.text_cond = text_cond
        self.text_uncond = text_uncond
        self.denoiser = denoiser


class CFGDenoisedParams:
    def __init__(self, x, sampling_step, total_sampling_steps, inner_model):
        self.x = x
        self.sampling_step = sampling_step
        self.total_sampling_steps = total_sampling_steps
        self.inner_model = inner_model


class AfterCFGCallbackParams:
    def __init__(self, x, sampling_step, total_sampling_steps):
        self.x = x
        self.sampling_step = sampling_step
        self.total_sampling_steps = total_sampling_steps


def _called(occasion, *arguments):
    for callback in callback_map[f"callbacks_{occasion}"]:
        try:
            callback(*arguments)
        except Exception:
            errors.record_exception()


def app_started_callback(demo, app):
    _called("app_started", demo, app)


def model_loaded_callback(sd_model):
    _called("model_loaded", sd_model)


def ui_settings_callback():
    _called("ui_settings")


def before_ui_callback():
    _called("before_ui")


def script_unloaded_callback():
    _called("script_unloaded")


def cfg_denoiser_callback(params):
    _called("cfg_denoiser", params)


def cfg_denoised_callback(params):
    _called("cfg_denoised", params)


def cfg_after_cfg_callback(params):
    _called("cfg_after_cfg", params)


def remove_callbacks_for_function(callback_func):
    for callbacks in callback_map.values():
        callbacks[:] = [callback for callback in callbacks if callback is not callback_func]


def on_app_started(callback, *, name=None):
    callback_map["callbacks_app_started"].append(callback)


def on_model_loaded(callback, *, name=None):
    callback_map["callbacks_model_loaded"].append(callback)


def on_ui_settings(callback, *, name=None):
    callback_map["callbacks_ui_settings"].append(callback)


def on_before_ui(callback, *, name=None):
    callback_map["callbacks_before_ui"].append(callback)


def on_script_unloaded(callback, *, name=None):
    callback_map["callbacks_script_unloaded"].append(callback)


def on_cfg_denoiser(callback, *, name=None):
    callback_map["callbacks_cfg_denoiser"].append(callback)


def on_cfg_denoised(callback, *, name=None):
    callback_map["callbacks_cfg_denoised"].append(callback)


def on_cfg_after_cfg(callback, *, name=None):
    callback_map["callbacks_cfg_after_cfg"].append(callback)
