"""The experiments' names, for the command line; nothing is imported for them."""

EXPERIMENTS = (
    "baselines",
    "segments",
    "recommended",
    "inside",
    "presets",
    "savings",
    "guidances",
    "upscaling",
    "candidates",
    "repaint",
    "strengths",
    "seeds",
    "overlap",
    "decoder",
)
