def initialize():
    """Fill `shared` in the order in which the other modules need it."""
    import torch

    from modules import options, shared, shared_options

    shared.opts = options.Options(shared_options.options_templates, shared_options.restricted_opts)

    from modules import devices

    devices.device = shared.device = devices.cpu
    devices.dtype = devices.dtype_vae = devices.dtype_unet = torch.float32
    devices.dtype_inference = torch.float32

    from modules import shared_state, shared_total_tqdm, styles

    shared.state = shared_state.State()
    shared.prompt_styles = styles.StyleDatabase([])
    shared.total_tqdm = shared_total_tqdm.TotalTQDM()
