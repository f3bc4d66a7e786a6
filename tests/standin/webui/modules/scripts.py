"""Scripts: one may be selected and runs; the always visible ones are told of every occasion."""

from modules import errors, shared

AlwaysVisible = object()


class MaskBlendArgs:
    def __init__(
        self, current_latent, nmask, init_latent, mask, blended_latent, denoiser=None, sigma=None
    ):
        self.current_latent = current_latent
        self.nmask = nmask
        self.init_latent = init_latent
        self.mask = mask
        self.blended_latent = blended_latent
        self.denoiser = denoiser
        self.is_final_blend = denoiser is None
        self.sigma = sigma


class PostSampleArgs:
    def __init__(self, samples):
        self.samples = samples


class PostprocessImageArgs:
    def __init__(self, image):
        self.image = image


class PostProcessMaskOverlayArgs:
    def __init__(self, index, mask_for_overlay, overlay_image):
        self.index = index
        self.mask_for_overlay = mask_for_overlay
        self.overlay_image = overlay_image


class PostprocessBatchListArgs:
    def __init__(self, images):
        self.images = images


class Script:
    name = None
    section = None
    filename = None
    args_from = None
    args_to = None
    alwayson = False
    is_txt2img = False
    is_img2img = False
    tabname = None
    group = None
    infotext_fields = None
    paste_field_names = None
    api_info = None
    controls = None

    def title(self):
        raise NotImplementedError

    def ui(self, is_img2img):
        pass

    def show(self, is_img2img):
        return True

    def run(self, p, *args):
        pass

    def setup(self, p, *args):
        pass

    def before_process(self, p, *args):
        pass

    def process(self, p, *args):
        pass

    def before_process_batch(self, p, *args, **kwargs):
        pass

    def process_batch(self, p, *args, **kwargs):
        pass

    def process_before_every_sampling(self, p, *args, **kwargs):
        pass

    def postprocess_batch(self, p, *args, **kwargs):
        pass

    def postprocess_batch_list(self, p, pp, *args, **kwargs):
        pass

    def on_mask_blend(self, p, mba, *args):
        pass

    def post_sample(self, p, ps, *args):
        pass

    def postprocess_image(self, p, pp, *args):
        pass

    def postprocess_maskoverlay(self, p, ppmo, *args):
        pass

    def postprocess_image_after_composite(self, p, pp, *args):
        pass

    def postprocess(self, p, processed, *args):
        pass

    def elem_id(self, item_id):
        return f"script_{self.tabname}_{self.title().lower().replace(' ', '_')}_{item_id}"


class ScriptRunner:
    def __init__(self):
        self.scripts = []
        self.selectable_scripts = []
        self.alwayson_scripts = []
        self.titles = []
        self.inputs = [None]

    def _told(self, occasion, p, *news, **named):
        for script in self.alwayson_scripts:
            try:
                arguments = p.script_args[script.args_from : script.args_to]
                getattr(script, occasion)(p, *news, *arguments, **named)
            except Exception:
                errors.report(f"Error running {occasion}", exc_info=True)

    def run(self, p, *args):
        """args: first the number of the selected script, then every script's values."""
        if not args[0]:
            return None
        script = self.selectable_scripts[args[0] - 1]
        processed = script.run(p, *args[script.args_from : script.args_to])
        shared.total_tqdm.clear()
        return processed

    def before_process(self, p):
        self._told("before_process", p)

    def process(self, p):
        self._told("process", p)

    def process_before_every_sampling(self, p, **kwargs):
        self._told("process_before_every_sampling", p, **kwargs)

    def before_process_batch(self, p, **kwargs):
        self._told("before_process_batch", p, **kwargs)

    def process_batch(self, p, **kwargs):
        self._told("process_batch", p, **kwargs)

    def postprocess(self, p, processed):
        self._told("postprocess", p, processed)

    def postprocess_batch(self, p, images, **kwargs):
        self._told("postprocess_batch", p, images=images, **kwargs)

    def postprocess_batch_list(self, p, pp, **kwargs):
        self._told("postprocess_batch_list", p, pp, **kwargs)

    def post_sample(self, p, ps):
        self._told("post_sample", p, ps)

    def on_mask_blend(self, p, mba):
        self._told("on_mask_blend", p, mba)

    def postprocess_image(self, p, pp):
        self._told("postprocess_image", p, pp)

    def postprocess_maskoverlay(self, p, ppmo):
        self._told("postprocess_maskoverlay", p, ppmo)

    def postprocess_image_after_composite(self, p, pp):
        self._told("postprocess_image_after_composite", p, pp)

    def setup_scrips(self, p, *, is_ui=True):
        self._told("setup", p)


scripts_txt2img = ScriptRunner()
scripts_img2img = ScriptRunner()
scripts_current = None
