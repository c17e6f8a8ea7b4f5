"""Dense layers whose width, dropout and number of epochs validation images choose."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .closed_form import Background

if TYPE_CHECKING:
    import keras

GRID = tuple(
    {"units": units, "dropout": dropout, "epochs": epochs}
    for units, dropout in ((256, 0.4), (512, 0.6))
    for epochs in (30, 60, 100)
)
"""Hidden units, share dropped behind them, and epochs."""
RATE, SMOOTHING = 3e-4, 0.1


def fit_layers(
    features: np.ndarray,
    targets: np.ndarray,
    n_labels: int,
    settings: Sequence[Mapping[str, Any]],
    background: Background | None = None,
    *,
    seed: int = 0,
) -> "Iterator[keras.Model]":
    """Train one hidden layer per setting, with label smoothing of 0.1, for the epochs that it says (Adam, 3e-4)."""
    from .building import build_head
    from .settings import HeadTraining
    from .training import refit_head
    from .variants import HeadVariant

    for setting in settings:
        variant = HeadVariant(
            (setting["units"],), batch_norm=False, dropout=setting["dropout"], augmentation=False
        )
        model = build_head(variant, features.shape[1], n_labels, seed=seed)
        training = HeadTraining(learning_rate=RATE, label_smoothing=SMOOTHING)
        refit_head(model, features, targets.astype(np.int32), setting["epochs"], training, seed=seed)
        yield model
