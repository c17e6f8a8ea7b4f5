"""Training images changed anew in every epoch, on the device that trains: a crop, a turn, a flip, colors, mixtures."""

import math
from dataclasses import dataclass

import torch
from torch.nn import functional


@dataclass(frozen=True)
class Augmentation:
    """How much a training image may be changed.

    Attributes
    ----------
    smallest : float
        Smallest share of the photograph's area that a crop shows.
    aspect : float
        Largest ratio of a crop's sides; 1: crops keep the photograph's shape.
    rotation : float
        Largest angle, in degrees.
    color : float
        Largest relative change of brightness, contrast and saturation.
    flip : bool
        Exchange left and right in half of the images.
    mixed : float
        Share of batches whose images are mixed in pairs: half of them are blended, half have a box exchanged.
    """

    smallest: float = 0.25
    aspect: float = 4 / 3
    rotation: float = 0.0
    color: float = 0.4
    flip: bool = True
    mixed: float = 0.0


def random_crops(
    canvases: torch.Tensor, sizes: torch.Tensor, side: int, how: Augmentation, random: torch.Generator
) -> torch.Tensor:
    """Return changed crops, scaled for the network.

    Parameters
    ----------
    canvases : uint8 tensor of shape (n, 3, canvas, canvas)
        Photographs in the upper left corner.
    sizes : tensor of shape (n, 2)
        Height and width of each photograph.
    side : int
        Of the crops, in pixels.
    how : Augmentation
    random : torch.Generator
        On the same device.

    Returns
    -------
    float32 tensor of shape (n, 3, side, side)
        (x - 127) / 128.
    """
    n, device, canvas = len(canvases), canvases.device, canvases.shape[-1]

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(n, device=device, generator=random)

    height, width = sizes.float().unbind(1)
    share = uniform(how.smallest, 1.0).sqrt()
    stretch = (uniform(-1.0, 1.0) * math.log(how.aspect) / 2).exp()
    box_height = (height * share / stretch).minimum(height)
    box_width = (width * share * stretch).minimum(width)
    top = (height - box_height) * uniform(0.0, 1.0)
    left = (width - box_width) * uniform(0.0, 1.0)
    angle = uniform(-how.rotation, how.rotation) * math.pi / 180
    mirror = torch.where(uniform(0.0, 1.0) < 0.5, -1.0, 1.0) if how.flip else torch.ones(n, device=device)
    scale_x, scale_y = box_width / canvas, box_height / canvas
    cos, sin = angle.cos(), angle.sin()
    theta = torch.stack(
        [
            torch.stack([scale_x * cos * mirror, -scale_x * sin, (2 * left + box_width) / canvas - 1], 1),
            torch.stack([scale_y * sin * mirror, scale_y * cos, (2 * top + box_height) / canvas - 1], 1),
        ],
        1,
    )
    grid = functional.affine_grid(theta, [n, 3, side, side], align_corners=False)
    x = functional.grid_sample(canvases.float(), grid, padding_mode="border", align_corners=False)
    if how.color:
        x = _recolored(x, *(uniform(-how.color, how.color).add(1).view(n, 1, 1, 1) for _ in range(3)))
    return (x - 127) / 128


def _recolored(
    x: torch.Tensor, brightness: torch.Tensor, contrast: torch.Tensor, saturation: torch.Tensor
) -> torch.Tensor:
    x = x * brightness
    gray = x.mean(1, keepdim=True)
    x = gray + (x - gray) * saturation
    mean = x.mean((1, 2, 3), keepdim=True)
    return (mean + (x - mean) * contrast).clamp(0, 255)


def mix_pairs(
    x: torch.Tensor, order: torch.Tensor, share: float, *, box: tuple[int, int] | None
) -> tuple[torch.Tensor, float]:
    """Mix every image with another one.

    Parameters
    ----------
    x : tensor of shape (n, 3, side, side)
    order : int64 tensor of shape (n,)
        The partner of each image.
    share : float
        What the image itself keeps.
    box : (row, column) or None
        Center of the box that shows the partner, of about 1 - `share` of the area; None: the two are blended.

    Returns
    -------
    tensor of the same shape
    float
        The share kept: for a box, after it was cut at the border.
    """
    if box is None:
        return share * x + (1 - share) * x[order], share
    side = x.shape[-1]
    half = int(side * math.sqrt(1 - share) / 2)
    top, bottom = max(box[0] - half, 0), min(box[0] + half, side)
    left, right = max(box[1] - half, 0), min(box[1] + half, side)
    mixed = x.clone()
    mixed[:, :, top:bottom, left:right] = x[order, :, top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / side**2
