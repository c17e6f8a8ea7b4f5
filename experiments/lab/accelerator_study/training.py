"""Fine-tune one network on photographs that lie on the device, and answer with its averaged weights."""

import copy
import math
import random
import time
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.nn import functional

from .augmentation import Augmentation, mix_pairs, random_crops
from .network import EfficientNetLite

AVERAGING = 0.99
WEIGHT_DECAY = 0.02
WARM_UP = 0.1  # share of the steps
SMOOTHING = 0.1
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Recipe:
    """What a flat model is trained with.

    Attributes
    ----------
    name : str
    side : int
        Of training crops, in pixels. Smaller than what the network predicts on: objects look larger in crops.
    rate : float
        Highest learning rate of AdamW.
    augmentation : Augmentation
    """

    name: str
    side: int = 192
    rate: float = 1e-3
    augmentation: Augmentation = field(default_factory=Augmentation)


@dataclass(frozen=True, eq=False)
class TrainingImages:
    """Photographs on the device.

    Attributes
    ----------
    canvases : uint8 tensor of shape (n, 3, canvas, canvas)
    sizes : int64 tensor of shape (n, 2)
        Height and width.
    """

    canvases: torch.Tensor
    sizes: torch.Tensor


@dataclass(frozen=True, eq=False)
class Task:
    """What a network learns to tell apart.

    Attributes
    ----------
    rows : int64 ndarray of shape (n,)
        Its training images: rows of `TrainingImages`.
    targets : int64 ndarray of shape (n,)
        Their labels.
    others : int64 ndarray
        Images of the label `other`; in each epoch as many of them are drawn as there are `rows`.
    other : int
        That label.
    groups : int64 ndarray of shape (n_outputs,), optional
        The label of each output, where several outputs share one: their probabilities are summed.
    """

    rows: np.ndarray
    targets: np.ndarray
    others: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    other: int = -1
    groups: np.ndarray | None = None

    def epoch(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows and labels of one epoch in a new order."""
        drawn = rng.choice(self.others, min(len(self.rows), len(self.others)), replace=False)
        rows = np.concatenate([self.rows, drawn])
        targets = np.concatenate([self.targets, np.full(len(drawn), self.other)])
        order = rng.permutation(len(rows))
        return rows[order], targets[order]


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained network with averaged weights, and how it got there.

    Attributes
    ----------
    network : EfficientNetLite
    curve : list of float
        Mean training loss of each epoch.
    images : int
        Images that it was shown, repeats counted.
    seconds : float
    """

    network: EfficientNetLite
    curve: list[float]
    images: int
    seconds: float


def label_loss(
    logits: torch.Tensor, targets: torch.Tensor, groups: torch.Tensor | None, smoothing: float = SMOOTHING
) -> torch.Tensor:
    """Return the mean smoothed negative log-likelihood.

    Parameters
    ----------
    logits : tensor of shape (n, n_outputs)
    targets : int64 tensor of shape (n,)
    groups : int64 tensor of shape (n_outputs,) or None
        The label of each output; None: each output is a label.
    smoothing : float
        Share of the target that is spread evenly over the labels.
    """
    log_probs = grouped_log_probs(logits, groups)
    likelihood = log_probs.gather(1, targets[:, None]).mean()
    return -(1 - smoothing) * likelihood - smoothing * log_probs.mean()


def grouped_log_probs(logits: torch.Tensor, groups: torch.Tensor | None) -> torch.Tensor:
    """Return log-probabilities of the labels, each the sum of its outputs' probabilities."""
    log_probs = functional.log_softmax(logits.float(), 1)
    if groups is None:
        return log_probs
    masks = functional.one_hot(groups).T.bool()  # (n_labels, n_outputs)
    spread = log_probs[:, None, :].masked_fill(~masks, -torch.inf)
    return spread.logsumexp(2)


def fit(
    network: EfficientNetLite,
    images: TrainingImages,
    task: Task,
    recipe: Recipe,
    *,
    rate: float,
    epochs: int,
    seed: int,
    batch: int = 64,
    precision: str = "bfloat16",
    cut: int = 0,
) -> Fitted:
    """Fine-tune a network: AdamW, warm-up and a half cosine, weights averaged exponentially over steps.

    Parameters
    ----------
    network : EfficientNetLite
        It is changed. On the device of `images`.
    images : TrainingImages
    task : Task
    recipe : Recipe
    rate : float
        Highest learning rate.
    epochs, seed, batch : int
    precision : str
        Key of `DTYPES`: what convolutions compute in; weights are float32.
    cut : int
        The blocks in front of it stay as they are; 0: all is trained.

    Returns
    -------
    Fitted
    """
    started = time.perf_counter()
    device = images.canvases.device
    rng, draw = np.random.default_rng(seed), random.Random(seed)
    torch.manual_seed(seed)  # dropout
    generator = torch.Generator(device).manual_seed(seed)
    if cut:
        for module in network.bottom_modules(cut):
            module.requires_grad_(False)
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": [weight for weight in trained if weight.ndim > 1], "weight_decay": WEIGHT_DECAY},
            {"params": [weight for weight in trained if weight.ndim == 1], "weight_decay": 0.0},
        ],
        lr=rate,
        fused=device.type == "cuda",
    )
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "float16")
    averaged = copy.deepcopy(network).requires_grad_(False)
    pairs = [
        (mean, now)
        for mean, now in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True)
        if mean.is_floating_point()
    ]
    means, nows = [mean for mean, _ in pairs], [now for _, now in pairs]
    groups = None if task.groups is None else torch.from_numpy(task.groups).to(device)
    n_epoch = len(task.rows) + min(len(task.rows), len(task.others))
    size = min(batch, n_epoch)
    steps = epochs * (n_epoch // size)
    network.train()
    if cut:
        for module in network.bottom_modules(cut):
            module.eval()
    curve, step = [], 0
    for _ in range(epochs):
        rows, targets = (torch.from_numpy(part).to(device) for part in task.epoch(rng))
        total = torch.zeros((), device=device)
        for start in range(0, n_epoch // size * size, size):
            for group in optimizer.param_groups:
                group["lr"] = rate * _schedule(step, steps)
            part, labels = rows[start : start + size], targets[start : start + size]
            x = random_crops(
                images.canvases[part], images.sizes[part], recipe.side, recipe.augmentation, generator
            )
            partners, kept = labels, 1.0
            if draw.random() < recipe.augmentation.mixed:
                order = torch.randperm(size, device=device, generator=generator)
                blend = draw.random() < 0.5
                share = draw.betavariate(0.4, 0.4) if blend else draw.random()
                box = None if blend else (draw.randrange(recipe.side), draw.randrange(recipe.side))
                x, kept = mix_pairs(x, order, share, box=box)
                partners = labels[order]
            x = x.contiguous(memory_format=torch.channels_last)
            with torch.autocast(device.type, DTYPES[precision], enabled=precision != "float32"):
                if cut:
                    with torch.no_grad():
                        x = network.bottom(x, cut)
                    logits = network.top(x, cut)
                else:
                    logits = network(x)
            loss = kept * label_loss(logits, labels, groups)
            if kept < 1:
                loss = loss + (1 - kept) * label_loss(logits, partners, groups)
            optimizer.zero_grad(set_to_none=True)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            step += 1
            torch._foreach_lerp_(means, nows, 1 - min(AVERAGING, step / (10 + step)))  # pyright: ignore
            total += loss.detach()
        curve.append(total.item() / (n_epoch // size))
    return Fitted(averaged.eval(), curve, steps * size, time.perf_counter() - started)


@contextmanager
def plain_float32():
    """Compute convolutions in float32 proper: without the tf32 that CUDA takes for it."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@torch.inference_mode()
def predict(
    network: EfficientNetLite,
    pixels: torch.Tensor,
    *,
    groups: np.ndarray | None = None,
    batch: int = 256,
) -> np.ndarray:
    """Return probabilities of the labels, in plain float32.

    Parameters
    ----------
    network : EfficientNetLite
    pixels : uint8 tensor of shape (n, 3, side, side)
    groups : int64 ndarray of shape (n_outputs,), optional
        As in `Task`.
    batch : int

    Returns
    -------
    float32 ndarray of shape (n, n_labels)
    """
    network.eval()
    labels = None if groups is None else torch.from_numpy(groups).to(pixels.device)
    parts = []
    tried = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False  # trying algorithms out would take longer than predicting
    with plain_float32():
        for start in range(0, len(pixels), batch):
            x = (pixels[start : start + batch].float() - 127) / 128
            logits = network(x.contiguous(memory_format=torch.channels_last))
            parts.append(grouped_log_probs(logits, labels).exp())
    torch.backends.cudnn.benchmark = tried
    return torch.cat(parts).cpu().numpy()


def _schedule(step: int, steps: int) -> float:
    """Return the share of the highest rate: linear warm-up, then a half cosine to zero."""
    warm = max(1, round(WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    return (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) / 2
