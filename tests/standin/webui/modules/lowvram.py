from modules import shared

module_in_gpu = None


def send_everything_to_cpu():
    global module_in_gpu
    module_in_gpu = None


def is_needed(sd_model):
    return shared.cmd_opts.lowvram or shared.cmd_opts.medvram


def is_enabled(sd_model):
    return sd_model.lowvram
