"""High-resolution image editing with multi-stage blended diffusion (Ackermann & Li 2022)."""

__version__ = "0.2.0"
