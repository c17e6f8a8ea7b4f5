"""What flat and two-stage classifiers share: prediction from images, lazily, in order, in constant memory.

Networks are compiled once and called batch by batch; `keras.Model.predict`, which leaks in a loop, is never used.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

import numpy as np

from aisles.data_prep.images.fitting import Fitting
from aisles.data_prep.images.manifest import Manifest
from aisles.data_prep.io.errors import DataError, UnreadableImage
from aisles.hierarchy.guarantees import (
    check_share,
    climb_guarantee,
    climb_images_needed,
    fit_prediction_sets,
)
from aisles.hierarchy.hierarchical_sets import fit_hierarchical_sets
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.rule_functions import ClimbAnswers
from aisles.hierarchy.rules import RoutingRule, parse_rule
from aisles.models.backbones.engines import check_engine

from .answers import HierarchicalPrediction, Outcome, macro_sums, make_prediction
from .evaluation import Evaluation, summarize
from .guarantee import Confidence, check_unseen, remembered
from .images import ImageInput, check_iterable, read_windows
from .label_model import AnyModel
from .processes import Origin
from .restriction import Only, Restrictions
from .stacks import ImageBatch, Stack, make_stacks
from .stored import Residents

logger = logging.getLogger(__name__)
BATCH_SIZE = 32
WINDOW = 256  # images over which those routed to the same sub-model are gathered into full batches


class Classifier(ABC):
    """Prediction from images.

    Attributes
    ----------
    classes_ : ndarray of str
        Class names, sorted: the order of every class distribution's columns.
    hierarchy : Hierarchy or None
    confidence : Confidence or None
        What `set_confidence` found.
    learned_from : frozenset of str
        SHA-256 of the image files that weights and temperatures were learned from, as far as they are known.
    residents : Residents
        How many networks from disk may be in memory.
    engine : str
        What runs the networks: `tensorflow`, `onnx`, or `auto` for onnx where it has been used on this machine before.
    origin : Origin or None
        The bundle that it was loaded from, until temperatures are fitted anew: what it is pickled as.
    """

    hierarchy: Hierarchy | None
    classes_: np.ndarray
    residents: Residents
    engine: str
    confidence: Confidence | None = None
    learned_from: frozenset[str] = frozenset()
    origin: Origin | None = None

    def __reduce__(self) -> Any:
        """Pickle path and hashes of the bundle, and what `set_confidence` found; weights don't travel."""
        if self.origin is None:
            raise TypeError(
                "A classifier travels to other processes as the path of its bundle, and this one has none, or has "
                "changed since it was loaded. Save it and load it: aisles.load(aisles.save(classifier, folder))."
            )
        state = {name: value for name in ("confidence", "rule") if (value := getattr(self, name, None))}
        return self.origin.load, (), state

    def _arrange(self, models: dict[str, AnyModel], residents: Residents | None, engine: str) -> None:
        """Put models that share a backbone into one stack; called once, at the end of the constructor."""
        check_engine(engine)
        self.residents, self.engine = Residents() if residents is None else residents, engine
        places = make_stacks(list(models.values()), self.residents, engine)
        self._places: dict[str, tuple[Stack, slice]] = {
            name: places[position] for position, name in enumerate(models) if position in places
        }

    # ---- prediction ---------------------------------------------------------------------------

    def predict(
        self,
        images: Iterable[ImageInput],
        *,
        rule: str | RoutingRule | None = None,
        only: Only | None = None,
        top: int = 5,
        batch_size: int = BATCH_SIZE,
        calibrated: bool = True,
        unreadable: str = "raise",
    ) -> list[Any]:
        """Predict images; threads may call it at once and share the networks.

        Parameters
        ----------
        images : iterable
            Paths, bytes of image files, PIL images or uint8 arrays (height, width, 3), also mixed; or one uint8
            array (n, height, width, 3). Taken lazily.
        rule : str, optional
            A routing rule such as `soft`, `hard`, `beam:2`, `climb:0.8`; the classifier's own unless given.
            `climb` alone uses the threshold that `set_confidence` found.
        only : iterable of str, iterable of iterables of str, or callable, optional
            Classes or macros that are possible here: one list for all images, one per image, or a function that
            gets an item of `images` and returns its list (None: all classes).
            Macros without a possible class are not routed to and their sub-models are not run; probabilities are
            conditioned on what is possible, so they sum to 1. Guarantees were found without it and don't hold:
            `climb` without a threshold is refused.
        top : int
            How many classes `top` lists.
        batch_size : int
            Images a pass.
        calibrated : bool
            Whether temperatures are applied.
        unreadable : {'raise', 'give'}
            Whether an image that can't be decoded is an error, or its `UnreadableImage` stands in its place.

        Returns
        -------
        list of HierarchicalPrediction
            In the order of `images`.

        Raises
        ------
        UnreadableImage
            If an image can't be decoded and `unreadable` is 'raise'.
        ValueError
            For a rule that is unknown or that this classifier can't follow.
        TypeError
            For a single image in place of several, or an item of another type.
        """
        answers = self.iter_predict(
            images, rule=rule, only=only, top=top, batch_size=batch_size, calibrated=calibrated,
            unreadable=unreadable,
        )  # fmt: skip
        return list(answers)

    def iter_predict(
        self,
        images: Iterable[ImageInput],
        *,
        rule: str | RoutingRule | None = None,
        only: Only | None = None,
        top: int = 5,
        batch_size: int = BATCH_SIZE,
        calibrated: bool = True,
        unreadable: str = "raise",
    ) -> Iterator[HierarchicalPrediction | UnreadableImage]:
        """Predict as `predict` does, giving answers as soon as their batch is done, in constant memory.

        Parameters
        ----------
        images, rule, only, top, batch_size, calibrated, unreadable
            As in `predict`.
        """
        if unreadable not in ("raise", "give"):
            raise ValueError(f"unreadable must be 'raise' or 'give'. Received: {unreadable!r}.")
        if isinstance(top, bool) or int(top) != top or top < 0:
            raise ValueError(f"top must be a whole number, 0 or more. Received: {top!r}.")
        possible = self._restrictions(only, rule)
        chosen = self._rule(rule, calibrated)
        return self._predictions(
            check_iterable(images), chosen, possible, int(top), batch_size, calibrated, unreadable
        )

    def _predictions(self, images, rule, possible, top, batch_size, calibrated, unreadable):
        strict = unreadable == "raise"
        for outcome, errors in self._outcomes(
            images, rule, batch_size, calibrated, strict, possible=possible
        ):
            row = 0
            for error in errors:
                if error is not None:
                    yield error
                    continue
                yield make_prediction(outcome, row, self.classes_, self.hierarchy, rule, top)
                row += 1

    def predict_proba(
        self,
        images: Iterable[ImageInput],
        *,
        rule: str | RoutingRule | None = None,
        only: Only | None = None,
        batch_size: int = BATCH_SIZE,
        calibrated: bool = True,
    ) -> np.ndarray:
        """Return the class distribution, of shape (n, n_classes), columns in the order of `classes_`.

        climb's distribution is soft's. Parameters as in `predict`.
        """
        possible = self._restrictions(only, rule)
        probs, _, _ = self._arrays(
            images, self._rule(rule, calibrated), batch_size, calibrated, possible=possible
        )
        return probs

    def predict_macro_proba(
        self, images: Iterable[ImageInput], *, batch_size: int = BATCH_SIZE, calibrated: bool = True
    ) -> np.ndarray:
        """Return the macro distribution, of shape (n, n_macros), columns in the order of `hierarchy.macros`.

        The router's; for a flat model the sums of its class probabilities. Parameters as in `predict`.
        """
        if self.hierarchy is None:
            raise ValueError("This flat model has no hierarchy, so no macros. Use predict_proba.")
        parts = [
            self._macro_probs(batch, calibrated)
            for batch, _ in self._batches(images, self._macro_stacks(), batch_size, batch_size, True)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, self.hierarchy.n_macros))

    def predict_sets(
        self, images: Iterable[ImageInput], *, hierarchical: bool = False, batch_size: int = BATCH_SIZE
    ) -> list[tuple[str, ...]]:
        """Return each image the set that holds its true class as often as `set_confidence` guaranteed.

        Parameters
        ----------
        images : iterable
            As in `predict`.
        hierarchical : bool
            Whether a macro stands for its classes where a set would name two or more of them. It holds every class of
            the macro, so the guarantee is the same with fewer names; see `aisles.hierarchy.hierarchical_sets`.
        batch_size : int

        Returns
        -------
        list of tuple of str
            Names of classes, and of macros in hierarchical sets, the most probable first; a set may be empty: nothing
            is probable enough.

        Raises
        ------
        ValueError
            If `set_confidence` was not called, or hierarchical sets are asked for without a hierarchy that has each
            class in one macro.
        """
        if self.confidence is None:
            raise ValueError("Prediction sets need calibration images. Call set_confidence first.")
        along = self.confidence.hierarchical_sets
        if hierarchical and (along is None or self.hierarchy is None):
            raise ValueError(
                "Hierarchical sets need a hierarchy with each class in one macro. Leave out hierarchical=True."
            )
        probs = self.predict_proba(images, rule=self._guaranteed_rule(), batch_size=batch_size)
        names = self.classes_.tolist()
        if not len(probs):
            return []
        if hierarchical and along is not None and self.hierarchy is not None:
            found = along.sets(probs, self.hierarchy)
            chosen, names = np.hstack([found.classes, found.macros]), [*names, *self.hierarchy.macros]
            probs = np.hstack([probs, macro_sums(probs, self.hierarchy)])
        else:
            chosen = self.confidence.sets.sets(probs)
        order = np.argsort(-probs, axis=1, kind="stable")
        return [
            tuple(str(names[i]) for i in ranks if inside[i])
            for ranks, inside in zip(order, chosen, strict=True)
        ]

    # ---- one batch, step by step --------------------------------------------------------------

    def place_of(self, name: str) -> tuple[Stack, slice] | None:
        """Return the stack that a model passes in and its columns there; None for a constant."""
        return self._places.get(name)

    def predict_batch(
        self,
        batch: ImageBatch,
        *,
        rule: str | RoutingRule | None = None,
        top: int = 5,
        calibrated: bool = True,
    ) -> list[HierarchicalPrediction]:
        """Predict the images of a batch, running only networks that they have not passed yet."""
        chosen = self._rule(rule, calibrated)
        outcome = self._outcome(batch, chosen, calibrated, False)
        return [
            make_prediction(outcome, row, self.classes_, self.hierarchy, chosen, top)
            for row in range(len(batch))
        ]

    def batch_proba(self, name: str, batch: ImageBatch, *, calibrated: bool = True) -> np.ndarray:
        """Return the distribution (n, n_labels) of the model of that name for the images of a batch."""
        return self._passed(name, batch, calibrated=calibrated)

    # ---- metrics and guarantees -----------------------------------------------------------------

    def evaluate(
        self,
        manifest: Manifest,
        *,
        split: str | None = None,
        rule: str | RoutingRule | None = None,
        batch_size: int = BATCH_SIZE,
        calibrated: bool = True,
    ) -> Evaluation:
        """Compute metrics on labelled images.

        Parameters
        ----------
        manifest : Manifest
            As `aisles.read_manifest` gives it.
        split : str, optional
            `test` if the manifest has such images, else all images, unless given.
        rule, batch_size, calibrated
            As in `predict`.

        Raises
        ------
        DataError
            If a label is none of the classifier's classes, there is no such image, or one can't be decoded.
        """
        split = split if split is not None else ("test" if (manifest.splits == "test").any() else None)
        rows = np.arange(len(manifest)) if split is None else np.flatnonzero(manifest.splits == split)
        if not len(rows):
            raise DataError(f"The manifest has no images of the split {split!r}. Choose another split.")
        truth = self._codes(manifest.labels[rows])
        paths = manifest.paths
        chosen = self._rule(rule, calibrated)
        arrays = self._arrays((paths[row] for row in rows), chosen, batch_size, calibrated)
        name = "flat" if chosen is None else str(chosen)
        return summarize(truth, *arrays, self.classes_, self.hierarchy, name)

    def evaluate_batch(self, batch: ImageBatch, labels: Sequence[str] | np.ndarray) -> Evaluation:
        """Compute the metrics of `evaluate` on a batch that has passed already, as a `FeatureBatch`."""
        chosen = self._rule(None, True)
        outcome = self._outcome(batch, chosen, True, True)
        arrays = outcome.probs, outcome.macro_probs, outcome.answers
        name = "flat" if chosen is None else str(chosen)
        return summarize(self._codes(labels), *arrays, self.classes_, self.hierarchy, name)

    def batch_macro_proba(self, batch: ImageBatch) -> np.ndarray:
        """Return the macro distribution (n, n_macros) of a batch that has passed already."""
        return self._macro_probs(batch, True)

    def set_confidence(
        self,
        share: float,
        images: Iterable[ImageInput],
        labels: Sequence[str],
        *,
        delta: float = 0.1,
        coverage: float | None = None,
        method: str = "lac",
        batch_size: int = BATCH_SIZE,
    ) -> Self:
        """Guarantee that the stated share of given answers is right, and that sets hold the true class.

        From now on `rule="climb"` answers with the threshold found here, and `predict_sets` works. The threshold
        is found by Learn then Test (Angelopoulos et al., Annals of Applied Statistics 2025): with probability at
        least 1 - `delta` over the calibration images, at least `share` of the answers given to new images is
        right. Conformal risk control and the conformal quantile don't apply to it, since a share of given answers
        isn't monotone in the threshold. The sets are split conformal prediction with the finite-sample quantile.
        See `aisles.hierarchy.guarantees`.

        Parameters
        ----------
        share : float
            Between 0 and 1, as 0.95.
        images : iterable
            From which neither weights nor temperatures were learned, drawn like those to come. Files among them that
            the classifier learned from (`learned_from`) are refused.
        labels : sequence of str
            The true class of each.
        delta : float
        coverage : float, optional
            Of the prediction sets; `share` unless given.
        method : {'lac', 'aps'}
            Kind of prediction set.
        batch_size : int

        Returns
        -------
        Classifier
            Itself. With too few images for climb's guarantee, which needs more, the sets are set all the same.

        Raises
        ------
        DataError
            If the classifier learned from some of the images, or a label is none of its classes.
        ValueError
            If there are too few images for the sets, or a share is none.
        """
        check_share(share, "share")
        check_share(delta, "delta")
        truth = self._codes(labels)
        digests: list[str] = []
        seen = remembered(check_iterable(images), digests)
        probs, macro_probs, _ = self._arrays(seen, self._guaranteed_rule(), batch_size, True)
        check_counts(len(probs), len(truth))
        check_unseen(digests, self.learned_from)
        climb, hierarchy = None, self.hierarchy
        if self._climbs() and hierarchy is not None and macro_probs is not None:
            needed = climb_images_needed(share, delta)
            if len(probs) >= needed:
                climb = climb_guarantee(probs, macro_probs, hierarchy, truth, share, delta)
            else:
                logger.warning(
                    "climb's guarantee of %s needs at least %d calibration images, and there are %d: prediction sets "
                    "alone are set.", share, needed, len(probs),
                )  # fmt: skip
        coverage = share if coverage is None else coverage
        along = None
        if hierarchy is not None and not hierarchy.overlapping:
            along = fit_hierarchical_sets(probs, truth, coverage, hierarchy, method)
        self.confidence = Confidence(climb, fit_prediction_sets(probs, truth, coverage, method), along)
        return self

    def _codes(self, labels: Iterable[object]) -> np.ndarray:
        place = {name: i for i, name in enumerate(self.classes_.tolist())}
        names = [str(label) for label in labels]
        foreign = sorted({name for name in names if name not in place})
        if foreign:
            raise DataError(
                f"Every label must be one of the classifier's {len(place)} classes. Others: {foreign[:5]}. "
                "Leave these images out, or take a bundle that knows them."
            )
        return np.array([place[name] for name in names], np.intp)

    # ---- machinery ----------------------------------------------------------------------------

    def _restrictions(self, only: Only | None, rule: str | RoutingRule | None) -> Restrictions | None:
        if only is None:
            return None
        if isinstance(rule, str) and rule.strip() == "climb":
            raise ValueError(
                "climb's guaranteed threshold was found with every class possible and doesn't hold under `only`. "
                "Write a threshold of your own, as climb:0.9."
            )
        return Restrictions(only, self.classes_.tolist(), self.hierarchy)

    def _arrays(self, images, rule, batch_size, calibrated, possible=None):
        """Return class distributions, macro distributions (or None) and climb's answers (or None) of all images."""
        found = [
            outcome
            for outcome, _ in self._outcomes(
                check_iterable(images), rule, batch_size, calibrated, True, complete=True, possible=possible
            )
        ]
        n_macros = self.hierarchy.n_macros if self.hierarchy else 0
        probs = [outcome.probs for outcome in found] or [np.zeros((0, len(self.classes_)))]
        macro = [o.macro_probs for o in found if o.macro_probs is not None] or [np.zeros((0, n_macros))]
        answers = [o.answers for o in found if o.answers is not None]
        joined = (
            ClimbAnswers(*map(np.concatenate, zip(*map(_columns, answers), strict=True))) if answers else None
        )
        return np.concatenate(probs), np.concatenate(macro) if self.hierarchy else None, joined

    def _outcomes(
        self, images, rule, batch_size, calibrated, strict, complete=False, possible=None
    ) -> Iterator[tuple[Any, tuple]]:
        stacks = self._stacks_for(rule)
        gathers = self._gathers(rule) or (possible is not None and len(stacks) > 1)
        window = batch_size * max(1, WINDOW // batch_size) if gathers else batch_size
        for batch, errors in self._batches(images, stacks, window, batch_size, strict, possible):
            yield self._outcome(batch, rule, calibrated, complete) if len(batch) else None, errors

    def _batches(self, images, stacks, window, batch_size, strict, possible=None):
        if isinstance(batch_size, bool) or int(batch_size) != batch_size or batch_size < 1:
            raise ValueError(f"batch_size must be a whole number, 1 or more. Received: {batch_size!r}.")
        fittings = [fitting for stack in stacks for fitting in stack.fittings] or [Fitting((1, 1))]
        images = check_iterable(images)
        for read in read_windows(images if possible is None else possible.beside(images), fittings, window):
            for position, error in enumerate(read.errors):
                if error is not None and strict:
                    which = f"Image {read.start + position}" if error.path is None else error.path
                    raise UnreadableImage(f"{which} {error}. Repair it, or leave it out.") from error
            allowed = None if possible is None else possible.rows([error is None for error in read.errors])
            yield ImageBatch(read.pixels, read.n_readable, batch_size, allowed), read.errors

    def _passed(
        self, name: str, batch: ImageBatch, rows: np.ndarray | None = None, calibrated=True
    ) -> np.ndarray:
        """Return the probabilities (len(rows), n_labels) of the model of that name."""
        rows = np.arange(len(batch)) if rows is None else rows
        if name not in self._places:
            return np.ones((len(rows), 1))
        stack, columns = self._places[name]
        return self._model(name).scaled(batch.outputs(stack, rows)[:, columns], calibrated=calibrated)

    def _stacks(self, names: Iterable[str]) -> list[Stack]:
        return list(dict.fromkeys(self._places[name][0] for name in names if name in self._places))

    def _read_rule(self, rule: str | RoutingRule, calibrated: bool) -> RoutingRule:
        if not (isinstance(rule, str) and rule.strip() == "climb"):
            return parse_rule(rule)
        if self.confidence is None or self.confidence.climb is None:
            raise ValueError(
                "The rule 'climb' without a threshold needs a guarantee: call set_confidence with enough images first, "
                "or write climb:0.9."
            )
        if not calibrated:
            raise ValueError(
                "The guaranteed threshold holds for calibrated probabilities. Write climb:0.9 instead."
            )
        threshold = self.confidence.climb.threshold
        return RoutingRule("climb", (threshold, threshold))

    @abstractmethod
    def _model(self, name: str) -> AnyModel: ...

    @abstractmethod
    def _rule(self, rule: str | RoutingRule | None, calibrated: bool) -> RoutingRule | None: ...

    @abstractmethod
    def _guaranteed_rule(self) -> RoutingRule | None: ...

    @abstractmethod
    def _stacks_for(self, rule: RoutingRule | None) -> list[Stack]: ...

    @abstractmethod
    def _macro_stacks(self) -> list[Stack]: ...

    def _gathers(self, rule: RoutingRule | None) -> bool:
        return False

    def _climbs(self) -> bool:
        return self.hierarchy is not None

    @abstractmethod
    def _outcome(
        self, batch: ImageBatch, rule: RoutingRule | None, calibrated: bool, complete: bool
    ) -> Outcome: ...

    @abstractmethod
    def _macro_probs(self, batch: ImageBatch, calibrated: bool) -> np.ndarray: ...


def check_counts(n_images: int, n_labels: int) -> None:
    """Refuse labels that are not one an image, or none at all."""
    if n_images != n_labels:
        raise ValueError(
            f"There must be one label an image. Received: {n_images} images and {n_labels} labels."
        )
    if n_images == 0:
        raise ValueError("Calibration needs labelled images. Received: none.")


def _columns(answers: ClimbAnswers) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return answers.levels, answers.class_index, answers.macro_index
