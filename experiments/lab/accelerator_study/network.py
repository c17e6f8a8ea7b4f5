"""EfficientNet-Lite in PyTorch: the network of `models/backbones/efficientnet_lite.py`, cut where one likes.

Modules are called as in the weights file (EfficientNet-PyTorch's names), so that it loads as it is.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

# kernel, repeats, stride of the first repeat, expansion, filters
STAGES = (
    (3, 1, 1, 1, 16), (3, 2, 2, 6, 24), (5, 2, 2, 6, 40), (3, 3, 2, 6, 80),
    (5, 3, 1, 6, 112), (5, 4, 2, 6, 192), (3, 1, 1, 6, 320),
)  # fmt: skip
SCALES = {"lite0": (1.0, 1.0, 224), "lite2": (1.1, 1.2, 260)}
"""Factors of width and depth, and the side in pixels, of each network."""
FEATURES = 1280
DROPOUT = 0.2


class SameConv(nn.Conv2d):
    """Convolution padded as TensorFlow's `same` pads it: with stride 2, more below and on the right."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__(inputs, outputs, kernel, stride, 0, groups=groups, bias=False)
        if stride == 1:
            self.padding = (kernel // 2, kernel // 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve maps (n, channels, height, width)."""
        if self.stride[0] > 1:
            kernel, stride = self.kernel_size[0], self.stride[0]
            down, right = (max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in x.shape[-2:])
            x = functional.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2))
        return super().forward(x)


class Block(nn.Module):
    """Inverted residual: expand, convolve by channel, project."""

    def __init__(self, inputs: int, kernel: int, stride: int, expansion: int, outputs: int):
        super().__init__()
        inner = inputs * expansion
        self.expands = expansion > 1
        if self.expands:
            self._expand_conv, self._bn0 = SameConv(inputs, inner, 1), _norm(inner)
        self._depthwise_conv, self._bn1 = SameConv(inner, inner, kernel, stride, groups=inner), _norm(inner)
        self._project_conv, self._bn2 = SameConv(inner, outputs, 1), _norm(outputs)
        self.adds, self.stride = stride == 1 and inputs == outputs, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pass maps on."""
        y = _relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = _relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.adds else y

    def multiplications(self, before: int, after: int) -> int:
        """Count the multiplications for maps of `before` places a side, and `after` behind the stride."""
        later = self._depthwise_conv.weight.numel() + self._project_conv.weight.numel()
        return after**2 * later + (before**2 * self._expand_conv.weight.numel() if self.expands else 0)


class EfficientNetLite(nn.Module):
    """The network with a linear layer on its pooled features.

    Parameters
    ----------
    name : str
        Key of `SCALES`.
    n_labels : int

    Attributes
    ----------
    last_blocks : int
        The block at which the last two stages begin: what is fine-tuned where only the last blocks are.
    """

    def __init__(self, name: str, n_labels: int):
        super().__init__()
        self.name = name
        width, depth, _ = SCALES[name]
        self._conv_stem, self._bn0 = SameConv(3, 32, 3, 2), _norm(32)
        blocks, starts, channels = [], [], 32
        for place, (kernel, repeats, stride, expansion, filters) in enumerate(STAGES):
            outputs = _scaled_filters(filters, width)
            inner = place not in (
                0,
                len(STAGES) - 1,
            )  # the first and the last stage are not repeated more often
            starts.append(len(blocks))
            for repeat in range(int(np.ceil(depth * repeats)) if inner else repeats):
                blocks.append(Block(channels, kernel, stride if repeat == 0 else 1, expansion, outputs))
                channels = outputs
        self._blocks = nn.ModuleList(blocks)
        self.last_blocks = starts[-2]
        self._conv_head, self._bn1 = SameConv(channels, FEATURES, 1), _norm(FEATURES)
        self._fc = nn.Linear(FEATURES, n_labels)

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return len(self._blocks)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return logits (n, n_labels) of scaled pixels (n, 3, height, width)."""
        return self.top(self.bottom(pixels, self.n_blocks), self.n_blocks)

    def bottom(self, pixels: torch.Tensor, cut: int) -> torch.Tensor:
        """Return the maps in front of block `cut`."""
        x = _relu6(self._bn0(self._conv_stem(pixels)))
        for block in self._blocks[:cut]:
            x = block(x)
        return x

    def top(self, x: torch.Tensor, cut: int) -> torch.Tensor:
        """Return logits from the maps in front of block `cut`."""
        for block in self._blocks[cut:]:
            x = block(x)
        features = _relu6(self._bn1(self._conv_head(x))).mean((2, 3))
        return self._fc(functional.dropout(features, DROPOUT, self.training))

    def bottom_modules(self, cut: int) -> list[nn.Module]:
        """List the modules in front of block `cut`."""
        return [self._conv_stem, self._bn0, *self._blocks[:cut]]

    def multiplications(self, side: int, cut: int = 0) -> int:
        """Count the multiplications from block `cut` on (0: all, the stem's too) for one image of `side` pixels."""
        total, length = 0, -(-side // 2)
        if not cut:
            total += length**2 * self._conv_stem.weight.numel()
        for place, block in enumerate(self._blocks):
            before, length = length, -(-length // block.stride)  # pyright: ignore[reportOperatorIssue]
            if place >= cut:
                total += block.multiplications(before, length)  # pyright: ignore[reportCallIssue]
        return int(total + length**2 * self._conv_head.weight.numel() + self._fc.weight.numel())


def pretrained(name: str, n_labels: int, tensors: Mapping[str, np.ndarray], seed: int) -> EfficientNetLite:
    """Return a network with the given weights and a new last layer.

    Parameters
    ----------
    name : str
        Key of `SCALES`.
    n_labels : int
    tensors : mapping of str to ndarray
        Of the weights file, without its last layer.
    seed : int
        Of the last layer.
    """
    torch.manual_seed(seed)
    network = EfficientNetLite(name, n_labels)
    given = {key: torch.from_numpy(np.asarray(value)) for key, value in tensors.items()}
    given["_fc.weight"] = torch.randn(n_labels, FEATURES) * 0.01
    given["_fc.bias"] = torch.zeros(n_labels)
    network.load_state_dict(
        {key: value.float() if value.is_floating_point() else value for key, value in given.items()}
    )
    return network


def with_labels(
    network: EfficientNetLite, columns: Sequence[int], other: Sequence[int] = ()
) -> EfficientNetLite:
    """Return a copy whose last layer answers some of the labels, from the rows of that layer.

    Parameters
    ----------
    network : EfficientNetLite
    columns : sequence of int
        Labels that are kept, in the order given. Softmax over them alone is the network's own distribution given
        that one of them is right.
    other : sequence of int
        Labels that share one further output, the last; it starts as the mean of their rows.
    """
    state = {key: value.detach().clone() for key, value in network.state_dict().items()}
    for part in ("_fc.weight", "_fc.bias"):
        rows = state[part]
        kept = rows[list(columns)]
        state[part] = torch.cat([kept, rows[list(other)].mean(0, keepdim=True)]) if other else kept
    copy = EfficientNetLite(network.name, len(state["_fc.bias"]))
    copy.load_state_dict(state)
    return copy.to(state["_fc.bias"].device, memory_format=torch.channels_last)  # pyright: ignore


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def _relu6(x: torch.Tensor) -> torch.Tensor:
    return functional.relu6(x, inplace=True)


def _scaled_filters(filters: int, width: float) -> int:
    """Round to a multiple of 8, never down by more than a tenth."""
    if width == 1:
        return filters
    rounded = max(8, int(filters * width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * filters * width else rounded
