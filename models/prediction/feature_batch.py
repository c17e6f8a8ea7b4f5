"""A batch of images whose features are known: heads are asked, and no image passes a network."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from .label_model import LabelModel
from .stacks import ImageBatch, Stack
from .stored import opened


class HeadOutputs:
    """What heads say of some images' features; each head is asked once, whichever classifiers share it.

    Parameters
    ----------
    features_of : callable
        From a model to the features (n_images, dimension) of its backbone.
    """

    def __init__(self, features_of: Callable[[LabelModel], np.ndarray]):
        self._features_of = features_of
        self._known: dict[int, tuple[Any, np.ndarray]] = {}

    def of(self, model: LabelModel) -> np.ndarray:
        """Return a model's outputs (n_images, n_labels), not calibrated."""
        if id(model.head) not in self._known:
            features = self._features_of(model)
            outputs = opened(model.head)(tf.convert_to_tensor(features, tf.float32), training=False).numpy()
            self._known[id(model.head)] = model.head, np.asarray(outputs, np.float32)  # the head stays alive
        return self._known[id(model.head)][1]

    def batch(self, rows: np.ndarray) -> "FeatureBatch":
        """Return some of the images as a batch that every classifier on these features can predict."""
        return FeatureBatch(self, rows)


class FeatureBatch(ImageBatch):
    """Images that have passed every stack.

    Parameters
    ----------
    outputs : HeadOutputs
    rows : ndarray of int
        Which of its images.
    """

    def __init__(self, outputs: HeadOutputs, rows: np.ndarray):
        super().__init__({}, len(rows), max(1, len(rows)))
        self._of, self._rows = outputs, rows

    def outputs(self, stack: Stack, rows: np.ndarray) -> np.ndarray:
        """Return what the heads of a stack say, side by side (len(rows), width)."""
        return np.hstack([self._of.of(model)[self._rows[rows]] for model in stack.models])  # type: ignore[arg-type]

    def passed(self, stack: Stack) -> bool:
        """Whether every image has passed the stack: always."""
        return True
