"""The networks of `keras.applications`, with ImageNet weights where they lie on this machine; none is downloaded.

Inception-v3 and VGG16 are the published study's. Where a network's authors say how they cropped, `crop_share` is
theirs: VGG (Simonyan and Zisserman 2014) scales the shorter side to 256 and takes the center 224; Inception (Szegedy
and others 2015) and MobileNet take 87.5 % of the image. For the others Keras' documentation names the size only, and
the same 87.5 %, common on ImageNet, is taken.
"""

import os
from pathlib import Path
from typing import Any

from .definitions import register_backbone
from .weights import WeightsFile

CROP = 0.875
ORDERED = "{}_weights_tf_dim_ordering_tf_kernels_notop.h5"
MD5 = {
    "inception_v3": "bcbd6486424b2319ff4ef7d526e38f63",
    "vgg16": "6d6bbae143d832006294945121d1f1fc",
}
# name here: name there, size, smallest size, normalization, feature size, weights file
NETWORKS: dict[str, tuple[str, int, int, str, int, str]] = {
    "inception_v3": ("InceptionV3", 299, 75, "symmetric", 2048, ORDERED.format("inception_v3")),
    "vgg16": ("VGG16", 224, 32, "caffe", 512, ORDERED.format("vgg16")),
    "VGG19": ("VGG19", 224, 32, "caffe", 512, ORDERED.format("vgg19")),
    "Xception": ("Xception", 299, 71, "symmetric", 2048, ORDERED.format("xception")),
    "InceptionResNetV2": ("InceptionResNetV2", 299, 75, "symmetric", 1536, ORDERED.format("inception_resnet_v2")),
    "MobileNet": ("MobileNet", 224, 32, "symmetric", 1024, "mobilenet_1_0_224_tf_no_top.h5"),
    "MobileNetV2": (
        "MobileNetV2", 224, 32, "symmetric", 1280, "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
    ),
    "MobileNetV3Small": (
        "MobileNetV3Small", 224, 32, "none", 576, "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5",
    ),
    "MobileNetV3Large": (
        "MobileNetV3Large", 224, 32, "none", 960, "weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
    ),
    "NASNetMobile": ("NASNetMobile", 224, 32, "symmetric", 1056, "nasnet_mobile_no_top.h5"),
    "NASNetLarge": ("NASNetLarge", 331, 32, "symmetric", 4032, "nasnet_large_no_top.h5"),
}  # fmt: skip
for _n in (50, 101, 152):
    NETWORKS[f"ResNet{_n}"] = (f"ResNet{_n}", 224, 32, "caffe", 2048, ORDERED.format(f"resnet{_n}"))
    NETWORKS[f"ResNet{_n}V2"] = (f"ResNet{_n}V2", 224, 32, "symmetric", 2048, ORDERED.format(f"resnet{_n}v2"))
for _n, _width in ((121, 1024), (169, 1664), (201, 1920)):
    NETWORKS[f"DenseNet{_n}"] = (
        f"DenseNet{_n}",
        224,
        32,
        "imagenet",
        _width,
        ORDERED.format(f"densenet{_n}"),
    )
for _n, (_size, _width) in enumerate(
    ((224, 1280), (240, 1280), (260, 1408), (300, 1536), (380, 1792), (456, 2048), (528, 2304), (600, 2560))
):
    NETWORKS[f"EfficientNetB{_n}"] = (
        f"EfficientNetB{_n}",
        _size,
        32,
        "none",
        _width,
        f"efficientnetb{_n}_notop.h5",
    )
for _kind, _size, _width in (
    ("B0", 224, 1280), ("B1", 240, 1280), ("B2", 260, 1408), ("B3", 300, 1536), ("S", 384, 1280), ("M", 480, 1280),
    ("L", 480, 1280),
):  # fmt: skip
    NETWORKS[f"EfficientNetV2{_kind}"] = (
        f"EfficientNetV2{_kind}", _size, 32, "none", _width, f"efficientnetv2-{_kind.lower()}_notop.h5",
    )  # fmt: skip
for _kind, _width in (("Tiny", 768), ("Small", 768), ("Base", 1024), ("Large", 1536), ("XLarge", 2048)):
    NETWORKS[f"ConvNeXt{_kind}"] = (
        f"ConvNeXt{_kind}", 224, 32, "none", _width, f"convnext_{_kind.lower()}_notop.h5",
    )  # fmt: skip


def _register(name: str) -> None:
    theirs, size, smallest, normalization, dimension, file = NETWORKS[name]

    def build(input_size: tuple[int, int]) -> Any:
        import keras

        return getattr(keras.applications, theirs)(
            include_top=False, weights=None, input_shape=(*input_size, 3)
        )

    def weights() -> WeightsFile:
        home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
        origin = (
            "On a machine with network, "
            f'`python -c "import keras; keras.applications.{theirs}(include_top=False)"` puts it there; copy it over.'
        )
        return WeightsFile(name, home / "models" / file, MD5.get(name, ""), origin)

    register_backbone(
        name,
        input_size=(size, size),
        normalization=normalization,
        description=f"{theirs} of keras.applications.",
        crop_share=CROP,
        dimension=dimension,
        smallest=smallest,
        weights=weights,
        license="see keras.applications",
        source="https://keras.io/api/applications/",
    )(build)


for _name in NETWORKS:
    _register(_name)
