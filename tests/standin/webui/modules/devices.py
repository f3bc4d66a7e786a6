"""Devices and number types; everything is the CPU and float32 here."""

import contextlib

import torch

from modules import shared

cpu = torch.device("cpu")
fp8 = False
force_fp16 = False
device = None
device_esrgan = None
dtype = torch.float16
dtype_vae = torch.float16
dtype_unet = torch.float16
dtype_inference = torch.float16
unet_needs_upcast = False


def get_optimal_device():
    return cpu


def get_device_for(task):
    return cpu


def torch_gc():
    pass


def cond_cast_unet(input):
    return input.to(dtype_unet) if unet_needs_upcast else input


def cond_cast_float(input):
    return input.float() if unet_needs_upcast else input


def autocast(disable=False):
    return contextlib.nullcontext()


def without_autocast(disable=False):
    return contextlib.nullcontext()


class NansException(Exception):
    pass


def test_for_nans(x, where):
    """Looks at the first number only, as the host does for speed."""
    if not shared.cmd_opts.disable_nan_check and torch.isnan(x.reshape(-1)[0]):
        raise NansException(f"A tensor with NaNs was produced in {where}.")
