"""How fast the device trains and predicts in each precision; the first tells how much a run has time for."""

import time
from collections.abc import Callable

import numpy as np
import torch

from .network import EfficientNetLite
from .training import DTYPES, Recipe, Task, TrainingImages, fit, plain_float32


def synchronize() -> None:
    """Wait until the device has done what it was told."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def training_speed(
    name: str, images: TrainingImages, recipe: Recipe, precision: str, *, batch: int, steps: int
) -> float:
    """Return training images per second over `steps` steps, after a few that are not counted."""
    network = EfficientNetLite(name, 81).to(images.canvases.device, memory_format=torch.channels_last)  # pyright: ignore
    rows = np.resize(np.arange(len(images.canvases)), batch * steps)
    how = {"rate": 1e-4, "epochs": 1, "seed": 0, "batch": batch, "precision": precision}
    few = rows[: batch * max(2, steps // 4)]
    fit(network, images, Task(few, np.zeros(len(few), np.int64)), recipe, **how)
    synchronize()
    started = time.perf_counter()
    fitted = fit(network, images, Task(rows, np.zeros(len(rows), np.int64)), recipe, **how)
    synchronize()
    return fitted.images / (time.perf_counter() - started)


def inference_speed(
    name: str, side: int, device: torch.device, *, batch: int, rounds: int
) -> dict[str, float]:
    """Return images per second by precision, the median over rounds, for pixels that lie on the device.

    Returns
    -------
    dict of str to float
        `float32`, `float32-tf32` (on CUDA), `bfloat16` and `float16` (on an accelerator).
    """
    network = EfficientNetLite(name, 81).to(device, memory_format=torch.channels_last).eval()  # pyright: ignore
    pixels = torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8, device=device)
    speeds = {}
    for precision in DTYPES if device.type != "cpu" else ("float32", "bfloat16"):
        network.to(DTYPES[precision])

        def once(dtype=DTYPES[precision]) -> None:
            with torch.inference_mode():
                x = ((pixels.float() - 127) / 128).to(dtype).contiguous(memory_format=torch.channels_last)
                network(x)

        with plain_float32():
            speeds[precision] = batch / _median_seconds(once, rounds)
        if (precision, device.type) == ("float32", "cuda"):
            speeds["float32-tf32"] = batch / _median_seconds(once, rounds)
    return speeds


def _median_seconds(function: Callable[[], None], rounds: int) -> float:
    for _ in range(3):
        function()
    seconds = []
    for _ in range(rounds):
        synchronize()
        started = time.perf_counter()
        function()
        synchronize()
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds))
