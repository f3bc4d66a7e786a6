"""The default upscaler; its network is a nearest neighbour with a shade more contrast."""

from PIL import Image

from modules import errors
from modules.upscaler import Upscaler, UpscalerData


class UpscalerRealESRGAN(Upscaler):
    def __init__(self, path):
        self.name = "RealESRGAN"
        self.user_path = path
        super().__init__()
        self.enable = True
        self.scalers = get_realesrgan_models(self)

    def do_upscale(self, img, path):
        """If the weights cannot be had, the picture as it is, and an error in the console."""
        if not self.enable:
            return img
        try:
            scaler = self.load_model(path)
        except Exception:
            errors.report(f"Unable to load RealESRGAN model {path}", exc_info=True)
            return img
        large = img.resize([side * scaler.scale for side in img.size], Image.Resampling.NEAREST)
        return large.point(lambda level: level + (level > 128) - (level < 127))

    def load_model(self, path):
        scaler = next(s for s in self.scalers if s.data_path == path)
        if not scaler.local_data_path:
            raise FileNotFoundError(f"RealESRGAN data missing: {path}")
        return scaler


def get_realesrgan_models(scaler):
    return [UpscalerData("R-ESRGAN 4x+", "RealESRGAN_x4plus.pth", scaler)]
