loaded_vae_file = None
unspecified = object()


def get_loaded_vae_name():
    return None if loaded_vae_file is None else loaded_vae_file.rsplit("/", 1)[-1]


def get_loaded_vae_hash():
    return None


def reload_vae_weights(sd_model=None, vae_file=unspecified):
    return sd_model
