"""Upscalers: a loop of enlargements, then to the size asked for."""

from abc import abstractmethod

from PIL import Image

from modules import shared

LANCZOS = Image.Resampling.LANCZOS
NEAREST = Image.Resampling.NEAREST


class Upscaler:
    name = None
    enable = True
    scalers: list
    tile = True

    def __init__(self, create_dirs=False):
        self.tile_size = shared.opts.ESRGAN_tile
        self.tile_pad = shared.opts.ESRGAN_tile_overlap
        self.device = shared.device
        self.scale = 1

    @abstractmethod
    def do_upscale(self, img, selected_model):
        return img

    def upscale(self, img, scale, selected_model=None):
        """Sides are multiples of 8; an interruption, or a method that does nothing, is not told."""
        self.scale = scale
        width, height = (int(side * scale // 8 * 8) for side in img.size)
        for attempt in range(3):
            enough = img.width >= width and img.height >= height
            if (enough and (attempt or scale != 1)) or shared.state.interrupted:
                break
            before, img = img.size, self.do_upscale(img, selected_model)
            if img.size == before:
                break
        return img if img.size == (width, height) else img.resize((width, height), LANCZOS)

    @abstractmethod
    def load_model(self, path):
        pass


class UpscalerData:
    name = None
    data_path = None
    scale = 4
    scaler = None

    def __init__(self, name, path, upscaler=None, scale=4, model=None):
        self.name = name
        self.data_path = path
        self.local_data_path = path
        self.scaler = upscaler
        self.scale = scale
        self.model = model


class UpscalerNone(Upscaler):
    name = "None"

    def __init__(self, dirname=None):
        super().__init__()
        self.scalers = [UpscalerData("None", None, self)]

    def load_model(self, path):
        pass

    def do_upscale(self, img, selected_model=None):
        return img


class UpscalerLanczos(Upscaler):
    def __init__(self, dirname=None):
        super().__init__()
        self.name = "Lanczos"
        self.scalers = [UpscalerData("Lanczos", None, self)]

    def load_model(self, _):
        pass

    def do_upscale(self, img, selected_model=None):
        return img.resize([int(side * self.scale) for side in img.size], LANCZOS)


class UpscalerNearest(Upscaler):
    def __init__(self, dirname=None):
        super().__init__()
        self.name = "Nearest"
        self.scalers = [UpscalerData("Nearest", None, self)]

    def load_model(self, _):
        pass

    def do_upscale(self, img, selected_model=None):
        return img.resize([int(side * self.scale) for side in img.size], NEAREST)
