"""Choosing a head's settings: by validation images, or where there are none by cross-validation grouped by product."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import log_softmax

from aisles.hierarchy.calibration import AT_ONCE, CELLS, FEWEST_ROWS, enough_rows, fit_temperature

from .closed_form import Background
from .registry import HeadDefinition

logger = logging.getLogger(__name__)
FOLDS = 3
FEWEST = 10
"""Validation images from which on they choose alone."""
ENOUGH = 4000
"""Validation images on which settings are compared at most; the temperature of the chosen one comes from more."""


@dataclass(frozen=True, eq=False)
class Parts:
    """The images of one head.

    Attributes
    ----------
    features : ndarray of shape (n_images, dimension)
        Of all images, whatever their split and label.
    targets : ndarray of int of shape (n_images,)
        Each image's label as a number, -1 for images of other labels.
    train, val : ndarray of int
        Rows of training and of validation images.
    products : sequence of length n_images, or None
    background : Background or None
    asked : tuple of two ndarrays of int, or None
        Rows whose `val_probs` and `probs` are wanted, increasing; all for None.
    """

    features: np.ndarray
    targets: np.ndarray
    train: np.ndarray
    val: np.ndarray
    products: Sequence[str] | np.ndarray | None = None
    background: Background | None = None
    asked: tuple[np.ndarray, np.ndarray] | None = None


@dataclass(frozen=True, eq=False)
class Tuned:
    """A head with the settings that validation images prefer.

    Attributes
    ----------
    model : LinearHead, NeighborHead or one of somebody's own
        With `network()`: a Keras model from features to probabilities.
    val_probs, probs : ndarray of shape (n_asked, n_labels)
        Of the rows that were asked for. `probs`: from the final head. `val_probs`: from training images alone, but
        rows of validation images from heads that learned from all training images and the other validation images, as
        the final one does.
    searched : int
    chosen : dict
        The settings, with the `temperature` that its logits were divided by.
    """

    model: Any
    val_probs: np.ndarray
    probs: np.ndarray
    searched: int
    chosen: dict[str, Any]


class _Network:
    """A Keras model that somebody's head gave, with the interface of our own."""

    def __init__(self, model: Any):
        self.model = model

    def logits(self, features: np.ndarray) -> np.ndarray:
        blocks = range(0, len(features), 1024)
        probs = [np.asarray(self.model(features[i : i + 1024], training=False), np.float64) for i in blocks]
        return np.log(np.maximum(np.concatenate(probs), 1e-30))

    def divided(self, temperature: float) -> "_Network":
        return self

    def network(self) -> Any:
        return self.model


def tune(
    definition: HeadDefinition, parts: Parts, n_labels: int, *, refit: bool = True, seed: int = 0
) -> Tuned:
    """Try a head's settings on training images, choose by validation images, and fit it for good.

    The likelihood of validation images after one temperature decides (ties: the setting that comes first). The final
    head learns from training and validation images if `refit`; its temperature is fitted where it holds: on validation
    images that heads like it never saw, in 3-fold cross-fitting. Fewer validation images than 10 are joined with
    the training images in 3-fold cross-validation. No product crosses folds.

    Raises
    ------
    ValueError
        If there are no training images, or the head gives something else than it should.
    """
    assert definition.fit is not None and definition.grid is not None
    if not len(parts.train):
        raise ValueError(f"The head {definition.name} needs training images. Received: none.")
    settings = [dict(setting) for setting in definition.grid(parts.background)]
    both = np.concatenate([parts.train, parts.val])
    folds = _folds(parts, both)
    enough = min(ENOUGH, max(CELLS // n_labels, FEWEST_ROWS))
    if len(folds) == 1 and len(parts.val) > enough:
        some = np.linspace(0, len(parts.val) - 1, enough).astype(int)
        folds = [(parts.train, parts.val[some])]
    tables = [np.empty((sum(len(asked) for _, asked in folds), n_labels)) for _ in settings]
    done = 0
    for learned, asked in folds:
        for table, model in zip(
            tables, _fitted(definition, parts, learned, n_labels, settings, seed), strict=True
        ):
            table[done : done + len(asked)] = model.logits(parts.features[asked])
        done += len(asked)
    truth = parts.targets[np.concatenate([asked for _, asked in folds])]
    scored = [_score(table, truth) for table in tables]
    best = int(np.argmin([loss for loss, _ in scored]))
    temperature = scored[best][1]
    one = [settings[best]]
    (alone,) = _fitted(definition, parts, parts.train, n_labels, one, seed)
    final, unseen = alone, None
    if refit and len(parts.val):
        (final,) = _fitted(definition, parts, both, n_labels, one, seed)
        if len(parts.val) >= FEWEST:
            unseen = _cross_fitted(definition, parts, n_labels, one, seed)
            temperature = _score(unseen, parts.targets[parts.val])[1]
    elif len(truth) < len(parts.val):
        temperature = _score(alone.logits(parts.features[parts.val]), parts.targets[parts.val])[1]
    if final.divided(2.0) is final:  # a head that takes none
        temperature = 1.0
    kept, same = {**settings[best], "temperature": float(temperature)}, final is alone
    alone, final = (model.divided(temperature) for model in (alone, final))
    everyone = np.arange(len(parts.features))
    val_rows, rows = parts.asked or (everyone, everyone)
    dtype = np.float64 if parts.asked is None else np.float32
    said, probs = (np.empty((len(asked), n_labels), dtype) for asked in (val_rows, rows))
    known = np.isin(val_rows, parts.val) if unseen is not None else np.zeros(len(val_rows), bool)
    _fill(said, np.flatnonzero(~known), lambda some: alone.logits(parts.features[val_rows[some]]))
    if unseen is not None:
        order = np.argsort(parts.val)
        place = order[np.searchsorted(parts.val[order], np.where(known, val_rows, parts.val[0]))]
        _fill(said, np.flatnonzero(known), lambda some: unseen[place[some]] / temperature)
    if same and parts.asked is None:
        probs[:] = said
    else:
        _fill(probs, np.arange(len(rows)), lambda some: final.logits(parts.features[rows[some]]))
    return Tuned(final, said, probs, len(settings), kept)


def _fitted(
    definition: HeadDefinition,
    parts: Parts,
    rows: np.ndarray,
    n_labels: int,
    settings: Sequence[Mapping[str, Any]],
    seed: int,
) -> Iterable[Any]:
    assert definition.fit is not None
    more = {} if definition.deterministic else {"seed": seed}
    found = definition.fit(
        parts.features[rows], parts.targets[rows], n_labels, settings, parts.background, **more
    )
    return (model if hasattr(model, "logits") else _Network(model) for model in found)


def _cross_fitted(
    definition: HeadDefinition, parts: Parts, n_labels: int, one: Sequence[Mapping[str, Any]], seed: int
) -> np.ndarray:
    """Return logits of validation images from heads that learned from training and the other validation images."""
    logits = np.empty((len(parts.val), n_labels), np.float64 if parts.asked is None else np.float32)
    fold = _fold_of(parts, parts.val)
    for number in np.unique(fold):
        learned = np.concatenate([parts.train, parts.val[fold != number]])
        (model,) = _fitted(definition, parts, learned, n_labels, one, seed)
        logits[fold == number] = model.logits(parts.features[parts.val[fold == number]])
    return logits


def _fold_of(parts: Parts, rows: np.ndarray) -> np.ndarray:
    """Deal rows into `FOLDS` folds; no product crosses."""
    products = np.arange(len(rows)) if parts.products is None else np.asarray(parts.products)[rows]
    _, groups = np.unique(products.astype(str), return_inverse=True)
    return np.random.default_rng(0).permutation(int(groups.max()) + 1)[groups] % FOLDS


def _folds(parts: Parts, both: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """List (rows to learn from, rows to predict): one pair with enough validation images, else three."""
    if len(parts.val) >= FEWEST:
        return [(parts.train, parts.val)]
    place = _fold_of(parts, both)
    folds = [(both[place != fold], both[place == fold]) for fold in range(FOLDS)]
    sound = [(learned, asked) for learned, asked in folds if len(learned) and len(asked)]
    return sound or [(both, both)]


def _score(logits: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Return the mean loss of the true labels after the best temperature, and that temperature."""
    some = enough_rows(*logits.shape)
    logits, truth = logits[some], truth[some]
    logs = np.asarray(log_softmax(logits, axis=1))
    scale = max(
        float(np.median(np.ptp(logs, axis=1))) / 10.0, 1.0
    )  # so that the search stays inside its bounds
    temperature = scale * fit_temperature(logs / scale, truth)
    scaled = np.asarray(log_softmax(logs / temperature, axis=1))
    return float(-scaled[np.arange(len(truth)), truth].mean()), temperature


def _fill(table: np.ndarray, rows: np.ndarray, logits: Callable[[np.ndarray], np.ndarray]) -> None:
    """Put the probabilities of some rows into a table, a part at a time."""
    size = max(AT_ONCE // table.shape[1], 1)
    for start in range(0, len(rows), size):
        some = rows[start : start + size]
        table[some] = np.exp(np.asarray(log_softmax(logits(some), axis=1)))
