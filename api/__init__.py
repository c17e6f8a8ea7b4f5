"""Hierarchical two-stage image classification of products, refereed against one flat model."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_PLACES = {
    "FeaturesTable": "aisles.data_prep.images.features_table",
    "FlatClassifier": "aisles.models.prediction.two_stage",
    "HierarchicalEstimator": "aisles.models.sklearn_estimator",
    "HierarchicalPrediction": "aisles.models.prediction.two_stage",
    "Hierarchy": "aisles.hierarchy.hierarchy",
    "MethodResult": "aisles.experiments.methods.registry",
    "Settings": "aisles.experiments.settings.benchmark",
    "TwoStageClassifier": "aisles.models.prediction.two_stage",
    "benchmark": "aisles.calls",
    "build_backbone": "aisles.models.backbones.registry",
    "compare": "aisles.experiments.judge.judgement",
    "evaluate": "aisles.experiments.training.bundle_evaluation",
    "load": "aisles.models.bundles.saving",
    "load_plugins": "aisles.hierarchy.registry",
    "read_manifest": "aisles.data_prep.images.manifest",
    "register_backbone": "aisles.models.backbones.definitions",
    "register_clustering": "aisles.hierarchy.clustering",
    "register_head": "aisles.models.heads.registry",
    "register_method": "aisles.experiments.methods.registry",
    "register_metric": "aisles.experiments.metrics.registry",
    "register_rule": "aisles.hierarchy.rules",
    "rename": "aisles.models.bundles.editing",
    "rollup": "aisles.experiments.judge.rollup",
    "save": "aisles.models.bundles.saving",
    "train": "aisles.calls",
    "update": "aisles.experiments.training.updating",
    "wrap_backbone": "aisles.models.backbones.registry",
}
_OTHER_NAMES = {
    "Settings": "BenchmarkSettings",
    "evaluate": "evaluate_bundle",
    "update": "update_bundle",
}

__all__ = [
    "FeaturesTable",
    "FlatClassifier",
    "HierarchicalEstimator",
    "HierarchicalPrediction",
    "Hierarchy",
    "MethodResult",
    "Settings",
    "TwoStageClassifier",
    "benchmark",
    "build_backbone",
    "compare",
    "evaluate",
    "load",
    "load_plugins",
    "read_manifest",
    "register_backbone",
    "register_clustering",
    "register_head",
    "register_method",
    "register_metric",
    "register_rule",
    "rename",
    "rollup",
    "save",
    "train",
    "update",
    "wrap_backbone",
]

if TYPE_CHECKING:
    from aisles.calls import benchmark, train
    from aisles.data_prep.images.features_table import FeaturesTable
    from aisles.data_prep.images.manifest import read_manifest
    from aisles.experiments.judge.judgement import compare
    from aisles.experiments.judge.rollup import rollup
    from aisles.experiments.methods.registry import MethodResult, register_method
    from aisles.experiments.metrics.registry import register_metric
    from aisles.experiments.settings.benchmark import BenchmarkSettings as Settings
    from aisles.experiments.training.bundle_evaluation import evaluate_bundle as evaluate
    from aisles.experiments.training.updating import update_bundle as update
    from aisles.hierarchy.clustering import register_clustering
    from aisles.hierarchy.hierarchy import Hierarchy
    from aisles.hierarchy.registry import load_plugins
    from aisles.hierarchy.rules import register_rule
    from aisles.models.backbones.definitions import register_backbone
    from aisles.models.backbones.registry import build_backbone, wrap_backbone
    from aisles.models.bundles.editing import rename
    from aisles.models.bundles.saving import load, save
    from aisles.models.heads.registry import register_head
    from aisles.models.prediction.two_stage import FlatClassifier, HierarchicalPrediction, TwoStageClassifier
    from aisles.models.sklearn_estimator import HierarchicalEstimator


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # slow, and pyproject.toml is where the number stands

        return version("aisles")
    if name not in _PLACES:
        raise AttributeError(f"module 'aisles' has no attribute {name!r}")
    value = getattr(import_module(_PLACES[name]), _OTHER_NAMES.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
