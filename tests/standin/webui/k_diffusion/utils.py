def append_dims(x, target_dims):
    """x with axes of length 1 appended until it has `target_dims`."""
    return x.reshape(*x.shape, *[1] * (target_dims - x.ndim))
