def apply_unet(option=None):
    pass
