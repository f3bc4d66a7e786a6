from types import SimpleNamespace

cmd_opts = SimpleNamespace(
    api_auth=None,
    ckpt=None,
    disable_console_progressbars=True,
    disable_nan_check=False,
    embeddings_dir="embeddings",
    freeze_settings=False,
    hide_ui_dir_config=False,
    lowvram=False,
    medvram=False,
    medvram_sdxl=False,
    no_half=True,
    no_half_vae=False,
    no_prompt_history=True,
    precision="full",
    upcast_sampling=False,
    use_cpu=["all"],
)
