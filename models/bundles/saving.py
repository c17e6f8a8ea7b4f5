"""`aisles.save` and `aisles.load`, for classifiers of images and for estimators on features."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aisles.models.sklearn_estimator import HierarchicalEstimator

from .estimator_files import DESCRIPTION, load_estimator, save_estimator

if TYPE_CHECKING:
    from aisles.hierarchy.class_tree import ClassTree
    from aisles.models.prediction.two_stage import FlatClassifier, TwoStageClassifier


def save(
    classifier: "FlatClassifier | TwoStageClassifier | HierarchicalEstimator",
    folder: str | Path,
    *,
    facts: Mapping[str, Any] | None = None,
    tree: "ClassTree | None" = None,
) -> Path:
    """Write a classifier of images as a bundle, or a fitted estimator on features as numbers and JSON.

    Whatever of its kind stands at `folder` is replaced once the new one is whole. Nothing is pickled.

    Parameters
    ----------
    classifier : FlatClassifier, TwoStageClassifier or HierarchicalEstimator
        Stages of an estimator must be of the classes that `models.bundles.estimator_files.SAVABLE` lists: logistic
        regression, discriminants, linear support vector machines, naive Bayes, perceptrons, and pipelines of these
        with scalers, imputers and PCA.
    folder : path
    facts, tree
        As in `save_bundle`; of bundles only.

    Raises
    ------
    FileExistsError
        If `folder` exists, is not empty and holds something else.
    ValueError
        If it can't be saved; the message names what can't.
    """
    if isinstance(classifier, HierarchicalEstimator):
        if facts is not None or tree is not None:
            raise ValueError("`facts` and `tree` stand on a bundle's model card; an estimator has none.")
        return save_estimator(classifier, folder)
    from .bundle import save_bundle

    return save_bundle(classifier, folder, facts=facts, tree=tree)


def load(folder: str | Path, *, resident: int | None = None, engine: str = "auto") -> Any:
    """Load what `save` wrote: a classifier of images, or an estimator on features; hashes are checked first.

    Parameters
    ----------
    folder : path
    resident : int, optional
        How many networks of a bundle may be in memory at once; see `load_bundle`.
    engine : {'auto', 'tensorflow', 'onnx'}
        What runs a bundle's networks; see `load_bundle`.

    Returns
    -------
    FlatClassifier, TwoStageClassifier or HierarchicalEstimator

    Raises
    ------
    DataError
        If the folder holds none, or anything in it has changed.
    """
    if (Path(folder) / DESCRIPTION).is_file():
        return load_estimator(folder)
    from .bundle import load_bundle

    return load_bundle(folder, resident=resident, engine=engine)
