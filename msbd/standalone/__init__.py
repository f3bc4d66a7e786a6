"""The backend without the WebUI: Stable Diffusion 1.x checkpoints, samplers, CLIP, upscalers."""
