"""What is the host's own, behind the engine's `Backend`: networks, sampling, upscalers and CLIP."""
