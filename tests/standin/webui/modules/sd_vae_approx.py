"""Previews without the decoder."""


def cheap_approximation(sample):
    """Colours of the cells in [-1,1], by a fixed mixture of the channels."""
    return sample[:, :3]


def model():
    return cheap_approximation
