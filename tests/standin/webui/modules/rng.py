"""The host's noise: one generator per picture of a batch."""

import torch

from modules import devices, shared


def create_generator(seed):
    return torch.Generator(devices.device).manual_seed(int(seed))


def slerp(val, low, high):
    unit = [x / x.norm(dim=1, keepdim=True) for x in (low, high)]
    cosine = (unit[0] * unit[1]).sum(1, keepdim=True)
    angle = cosine.clamp(-1, 1).acos()
    return (((1 - val) * angle).sin() * low + (val * angle).sin() * high) / angle.sin()


class ImageRNG:
    def __init__(
        self, shape, seeds, subseeds=None, subseed_strength=0.0,
        seed_resize_from_h=0, seed_resize_from_w=0,
    ):  # fmt: skip
        self.shape = tuple(int(side) for side in shape)
        self.seeds = seeds
        self.subseeds = subseeds
        self.subseed_strength = subseed_strength
        self.seed_resize_from_h = seed_resize_from_h
        self.seed_resize_from_w = seed_resize_from_w
        self.generators = [create_generator(seed) for seed in seeds]
        self.is_first = True

    def _drawn(self):
        return torch.stack([torch.randn(self.shape, generator=g) for g in self.generators])

    def first(self):
        noise = self._drawn()
        if self.subseeds and self.subseed_strength:
            other = [torch.randn(self.shape, generator=create_generator(s)) for s in self.subseeds]
            noise = slerp(self.subseed_strength, noise, torch.stack(other))
        return noise.to(shared.device)

    def next(self):
        """Seeding the first noise seeds torch's global generator too, as in the host."""
        if self.is_first:
            self.is_first = False
            torch.manual_seed(self.seeds[-1])
            return self.first()
        return self._drawn().to(shared.device)
