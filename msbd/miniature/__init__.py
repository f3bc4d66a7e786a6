"""A Stable Diffusion 1 of a hundredth of the size, trained on a drawn world of coloured shapes.

Most modules here import diffusers or open_clip, and those torchvision.
"""

from .torchvision_patch import patch_torchvision

patch_torchvision()
