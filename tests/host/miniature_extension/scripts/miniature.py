"""A test extension that lets Forge and reForge recognise the miniature; on A1111 it does nothing.

Both guess a checkpoint's sizes from its weights and refuse what they do not know. The UNet's they
read off the weights themselves; the autoencoder's and the text encoder's come from files of theirs.
So one more entry in their list of models is enough.
"""

import json
from inspect import signature
from pathlib import Path

import msbd

TOKENIZER = Path(msbd.__file__).parent / "miniature" / "weights" / "tokenizer"
UNET = {
    "context_dim": 64,
    "model_channels": 64,
    "use_linear_in_transformer": False,
    "adm_in_channels": None,
    "use_temporal_attention": False,
}
HEADS = {"num_heads": 4, "num_head_channels": -1}
AUTOENCODER = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": [64, 64, 128, 128],
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 32,
    "sample_size": 128,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
DECODER = {
    "double_z": True,
    "z_channels": 4,
    "resolution": 128,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 64,
    "ch_mult": [1, 1, 2, 2],
    "num_res_blocks": 1,
    "attn_resolutions": [],
    "dropout": 0.0,
}


def tell_forge() -> None:
    """Its models are folders in diffusers' layout."""
    from backend import loader
    from huggingface_guess import model_list
    from modules.paths_internal import data_path

    folder = Path(data_path) / "miniature-diffusers"
    known = Path(loader.dir_path) / "huggingface" / "runwayml" / "stable-diffusion-v1-5"
    for name, text in {
        "model_index.json": (known / "model_index.json").read_text(),
        "scheduler/scheduler_config.json": (known / "scheduler/scheduler_config.json").read_text(),
        "vae/config.json": json.dumps(AUTOENCODER),
        "text_encoder/config.json": (TOKENIZER / "config.json").read_text(),
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    if not (folder / "tokenizer").exists():
        (folder / "tokenizer").symlink_to(known / "tokenizer")

    class Miniature(model_list.SD15):
        huggingface_repo = str(folder)  # joined to the folder of the known ones: absolute, it wins
        unet_config = UNET
        unet_extra_config = HEADS

    model_list.models.insert(0, Miniature)


def tell_reforge() -> None:
    """Its models are classes, and the autoencoder is always Stable Diffusion's."""
    from ldm_patched.modules import sd1_clip, supported_models, supported_models_base
    from modules_forge import forge_loader

    class Clip(sd1_clip.SDClipModel):
        def __init__(self, **given):
            config = str(TOKENIZER / "config.json")
            if "return_projected_pooled" in signature(sd1_clip.SDClipModel.__init__).parameters:
                given["return_projected_pooled"] = False  # not in Classic
            super().__init__(textmodel_json_config=config, **given)

    class Text(sd1_clip.SD1ClipModel):
        def __init__(self, *args, **given):
            super().__init__(*args, clip_model=Clip, **given)

    class Miniature(supported_models.SD15):
        unet_config = UNET
        unet_extra_config = HEADS

        def clip_target(self, state_dict=None):
            return supported_models_base.ClipTarget(sd1_clip.SD1Tokenizer, Text)

    class Autoencoder(forge_loader.VAE):
        def __init__(self, sd=None, config=None, **given):
            if config is None and sd and sd["decoder.conv_in.weight"].shape[0] == 128:
                config = {"params": {"ddconfig": DECODER, "embed_dim": 4}}
            super().__init__(sd=sd, config=config, **given)

    supported_models.models.insert(0, Miniature)
    forge_loader.VAE = Autoencoder


try:
    import backend.loader  # noqa: F401
except ImportError:
    try:
        import modules_forge.forge_loader  # noqa: F401
    except ImportError:
        pass
    else:
        tell_reforge()
else:
    tell_forge()
