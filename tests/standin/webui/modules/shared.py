"""What the host's modules share; filled by `shared_init.initialize`."""

import sys
from types import ModuleType

from modules import options, shared_cmd_options, util
from modules.paths_internal import data_path, models_path, script_path

cmd_opts = shared_cmd_options.cmd_opts
parallel_processing_allowed = True
device = None
state = None
opts = None
prompt_styles = None
sd_model = None
sd_upscalers = []
total_tqdm = None
progress_print_out = sys.stdout
demo = None
tab_names = []
OptionInfo = options.OptionInfo
options_section = options.options_section
listfiles = util.listfiles
walk_files = util.walk_files


class _Shared(ModuleType):
    """Asks for the model when somebody wants it."""

    @property
    def sd_model(self):
        from modules import sd_models

        return sd_models.model_data.get_sd_model()

    @sd_model.setter
    def sd_model(self, value):
        from modules import sd_models

        sd_models.model_data.set_sd_model(value)


sys.modules["modules.shared"].__class__ = _Shared
