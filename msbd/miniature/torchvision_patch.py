"""Make `import torchvision` work where its compiled half does not fit the installed torch.

The package index serves torchvision built for CUDA; beside a CPU build of torch its library does
not load and the import fails. Only pure Python parts of it are needed here, by way of
transformers, open_clip and spandrel.
"""

from __future__ import annotations

from importlib import import_module

import torch

_SYMPTOM = "torchvision::nms does not exist"
_ARGUMENTS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[torch.library.Library] = []


def patch_torchvision() -> None:
    """Declare the operators torchvision's import asks for, only if it fails for want of them.

    Call it before the first import of a package that imports torchvision. Where torchvision is
    sound or absent nothing happens: a second declaration would abort the process. The declared
    operators have no kernels; whoever calls one gets torch's own error.
    """
    try:
        import_module("torchvision")
    except ImportError:
        return
    except RuntimeError as error:
        if _SYMPTOM not in str(error) or _declared:
            raise
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(name + _ARGUMENTS)
        _declared.append(library)  # the declarations live as long as the object
