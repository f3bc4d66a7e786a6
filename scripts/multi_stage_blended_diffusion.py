"""Multi-Stage Blended Diffusion in the img2img tab's list of scripts."""

from modules import script_callbacks, scripts

from msbd.webui import api, fields, infotext, options, run, xyz
from msbd.webui.panel import check, controls, dry_run, tab


class MultiStageBlendedDiffusion(scripts.Script):
    """Edits the masked part of a picture at its full resolution."""

    def __init__(self):
        self.tab = tab.Tab()

    def title(self):
        return fields.TITLE

    def show(self, is_img2img):
        return is_img2img

    def after_component(self, component, **kwargs):
        self.tab.saw(component)

    def ui(self, is_img2img):
        made = controls.build(self.elem_id, self.tab)
        named = dict(zip(fields.CONTROLS, made, strict=True))
        self.infotext_fields = infotext.paste_fields(named)
        return made

    def run(self, p, *args):
        return run.run(p, self.title(), args)


class MultiStageBlendedDiffusionAxes(scripts.Script):
    """Unseen: makes edits of the cells of an X/Y/Z plot that has one of our axes."""

    create_group = False

    def title(self):
        return f"{fields.TITLE}: X/Y/Z axes"

    def show(self, is_img2img):
        return scripts.AlwaysVisible if is_img2img else False

    def before_process(self, p, *args):
        xyz.patch_cell(p)


script_callbacks.on_ui_settings(options.register)
script_callbacks.on_ui_settings(check.register)
script_callbacks.on_after_component(dry_run.follow_checkpoint)
script_callbacks.on_before_ui(xyz.add_axes)
script_callbacks.on_infotext_pasted(infotext.renew)
script_callbacks.on_before_image_saved(run.keep_profile)
script_callbacks.on_app_started(api.mount)
