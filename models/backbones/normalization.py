"""What happens to pixels (RGB, 0-255) before a network sees them: a matrix over the channels and an offset."""

import numpy as np

VGG_MEANS = (103.939, 116.779, 123.68)  # blue, green, red
IMAGENET_MEANS, IMAGENET_DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # red, green, blue, of 0-1

_EYE = np.eye(3)
NORMALIZATIONS: dict[str, tuple[np.ndarray, np.ndarray]] = {
    "none": (_EYE, np.zeros(3)),
    "symmetric": (_EYE / 127.5, np.full(3, -1.0)),
    "lite": (_EYE / 128, np.full(3, -127 / 128)),
    "caffe": (_EYE[::-1], -np.array(VGG_MEANS)),
    "imagenet": (
        _EYE / (255 * np.array(IMAGENET_DEVIATIONS)),
        -np.array(IMAGENET_MEANS) / IMAGENET_DEVIATIONS,
    ),
}
"""By name: the matrix (in, out) and the offset. `symmetric` maps to -1 to 1, `lite` is (x - 127) / 128, `caffe` puts
blue first and subtracts ImageNet's means, `imagenet` subtracts means and divides by deviations, as PyTorch's do."""


def normalized(pixels: np.ndarray, name: str) -> np.ndarray:
    """Return pixels (..., 3), RGB, 0-255, as float32 numbers for a network."""
    matrix, offset = NORMALIZATIONS[name]
    numbers = pixels[..., ::-1] if name == "caffe" else pixels
    scale = np.diag(matrix[::-1] if name == "caffe" else matrix)
    return numbers.astype(np.float32) * scale.astype(np.float32) + offset.astype(np.float32)
