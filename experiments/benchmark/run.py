"""One benchmark: flat against two-stage on one manifest, from photographs to a verdict and saved models."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from aisles.data_prep.images.features_table import FeaturesTable, is_features_table
from aisles.data_prep.io.errors import DataError
from aisles.data_prep.io.files import features_cache, write_whole
from aisles.data_prep.io.step_cache import fingerprint, step
from aisles.data_prep.io.workers import engine
from aisles.experiments.judge.methods_table import methods_table
from aisles.experiments.methods.head_jobs import Trainer, flat_job, router_job, two_stage_jobs
from aisles.experiments.methods.protocol import check_same_protocol, collect
from aisles.experiments.methods.registry import FLAT, Context, Method, MethodResult, taking_part
from aisles.experiments.metrics.hierarchy_quality import agreement, hierarchy_quality
from aisles.experiments.report.writing import write_report
from aisles.experiments.runs.large_tables import on_disk, table_on_disk
from aisles.experiments.runs.plan import in_words, write_plan
from aisles.experiments.runs.predictions import Predictions
from aisles.experiments.runs.provenance import check_resumable, environment
from aisles.experiments.runs.schema import BENCHMARK, SCHEMA, BenchmarkMetrics
from aisles.experiments.runs.writer import (
    check_apart,
    data_facts,
    log_counts,
    remove_results,
    run_folder,
    test_images_hash,
    write_inputs,
    write_json,
    write_metrics,
)
from aisles.experiments.settings.benchmark import BackboneSettings, BenchmarkSettings
from aisles.experiments.stats.points import change_in_points
from aisles.hierarchy.class_tree import ClassTree
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.rules import parse_rule, route
from aisles.models.backbones.registry import Backbone

from .bundles import save_bundles
from .costs import measured_costs, method_cost
from .evaluation import evaluate
from .forecast import confusion_of_seeds, described, forecast_cuts, observed_outcome
from .preparation import (
    FoundHierarchy,
    PreparedData,
    check_hierarchy,
    class_tree,
    find_hierarchy,
    independent_hierarchy,
    prepare_coarse,
    prepare_data,
    prepare_features,
    without_validation,
)
from .sweep import sweep_cuts

LINKAGES = ("ward", "average", "complete")
FORECAST_MACROS = tuple(range(2, 13))
COARSE_METHODS = ("flat-coarse", "flat-coarse-lda", "coarse:soft", "coarse:hie")


@dataclass(frozen=True, eq=False)
class BenchmarkResult:
    """What a run found.

    Attributes
    ----------
    folder : Path
        The run folder.
    metrics : dict
        As `metrics.json` holds it; see `experiments.runs.schema`.
    """

    folder: Path
    metrics: BenchmarkMetrics

    @property
    def table(self) -> pd.DataFrame:
        """One row per method: accuracy, macro-F1, and the difference from its baseline with interval, p and verdict."""
        return methods_table(self.metrics)

    def _repr_html_(self) -> str:
        shown = self.table.to_html(float_format="{:.3f}".format, na_rep="")
        return f"{shown}<p>{escape(self.metrics['verdict'])}</p>"

    def __repr__(self) -> str:
        first = self.metrics["best_flat"]["comparisons"][0]
        change = change_in_points(first["difference"])
        verdict = f"{first['b']} against {first['a']}: {change}, {first['verdict']}"
        return f"BenchmarkResult({str(self.folder)!r}, {verdict})"


def run_benchmark(
    data: str | Path | FeaturesTable,
    output: str | Path,
    settings: BenchmarkSettings | None = None,
    *,
    cache: str | Path | None = None,
    backbone: Backbone | None = None,
    jobs: int | None = None,
    scheduler: str | None = None,
    sweep: bool = False,
    resume: bool = False,
    replace: bool = False,
    command: str | None = None,
) -> BenchmarkResult:
    """Compare flat and two-stage on a folder of labelled photographs.

    Stages that were made from the same inputs are not made again, so a killed run goes on where it stopped.

    Parameters
    ----------
    data : path or FeaturesTable
        A manifest or a folder of class folders; see `aisles.data_prep.images.manifest.read_manifest`. Or features.
    output : path
        The run folder.
    settings : BenchmarkSettings, optional
    cache : path, optional
        Folder for cached features.
    backbone : Backbone, optional
        One of your own, used as it is in place of the one that the settings name.
    jobs : int, optional
        Processes that train heads; by default as many as there are processors, where it pays.
    scheduler : str, optional
        A Dask cluster that extracts features and trains in their place; see `data_prep.io.workers`.
    sweep : bool
        Whether to try the cuts that `settings.sweep` names, too.
    resume : bool
        Refuse to start anew: there must be a run in the folder.
    replace : bool
        Replace the results of a run with other settings or images, which is refused otherwise.
    command : str, optional
        What was typed to start it, for those who want to repeat it.

    Returns
    -------
    BenchmarkResult

    Raises
    ------
    ValueError
        If the folder holds another run, flat or the primary rule can't be trained, or the cluster can't be used.
    """
    settings, output = settings or BenchmarkSettings(), Path(output).absolute()
    if not isinstance(data, FeaturesTable):
        check_apart(Path(data), output)
    with run_folder(output), engine(scheduler) as places:
        jobs = places or jobs
        if not isinstance(data, FeaturesTable) and not is_features_table(data):
            features_cache(cache)  # what can't be written is said before images are read
        prepared = prepare_data(data, settings.data, settings.hierarchy.column)
        log_counts(prepared)
        if prepared.vectors is not None and settings.comparison.bundles:
            raise DataError(
                "A features table has no network, and a bundle is one for images. Leave out --bundle, or give images."
            )
        check_hierarchy(prepared, settings.hierarchy)
        # Before features are extracted, which takes longest; whether the backbone is the same, its key tells.
        check_resumable(
            output,
            settings,
            {"data": prepared.fingerprint},
            prepared.manifest,
            resume=resume,
            replace=replace,
        )
        network, features = prepare_features(prepared, settings.backbone, cache, backbone)
        prepared = prepare_coarse(prepared, settings.backbone, network, cache)
        settings = with_coarse_methods(settings, prepared)
        facts = {"data": prepared.fingerprint, "backbone": network.key}
        another = check_resumable(output, settings, facts, prepared.manifest, resume=resume, replace=replace)

        hashed = test_images_hash(prepared)
        plan = write_plan(output, settings, hashed, prepared.fingerprint, network.key)

        def confusion() -> np.ndarray:
            trainer = Trainer(output / "models", prepared, features, network.key, settings.training, jobs)
            return flat_confusion(trainer, prepared, range(settings.comparison.seeds))

        found = find_hierarchy(prepared, features, settings.hierarchy, confusion)
        if another:
            remove_results(output)
        write_inputs(
            output,
            settings,
            prepared,
            found,
            facts,
            named=backbone is None and prepared.vectors is None,
            command=command,
        )
        run = _Run(output, settings, prepared, network, features, found, plan, cache, jobs, command)
        metrics = run.run(sweep)
        write_report(output)
    return BenchmarkResult(output, metrics)


def with_coarse_methods(settings: BenchmarkSettings, prepared: PreparedData) -> BenchmarkSettings:
    """Add the methods that learn from images known by their macro alone, flat ones among them, if there are any."""
    if prepared.coarse is None:
        return settings
    names = dict.fromkeys((*settings.comparison.methods, *COARSE_METHODS))
    comparison = settings.comparison.model_copy(update={"methods": tuple(names)})
    return settings.model_copy(update={"comparison": comparison})


def flat_confusion(trainer: Trainer, prepared: PreparedData, seeds: range) -> np.ndarray:
    """Train flat, and return its probability mass on validation images, (n_classes, n_classes), by true class."""
    classes, val = prepared.manifest.classes, prepared.rows("val")
    trainer.train([flat_job(classes, seed) for seed in seeds])
    truth = np.searchsorted(np.array(classes), prepared.manifest.labels[val].astype(str))
    return confusion_of_seeds(truth, np.stack([trainer.flat(seed).val_probs[val] for seed in seeds]))


@dataclass(frozen=True, eq=False)
class _Run:
    """The parts of one run, each computed once, when it is asked for."""

    output: Path
    settings: BenchmarkSettings
    prepared: PreparedData
    backbone: Backbone
    features: np.ndarray
    found: FoundHierarchy
    plan: dict[str, Any]
    cache: str | Path | None
    jobs: int | None
    command: str | None = None

    def run(self, sweep: bool) -> BenchmarkMetrics:
        plan = self.plan
        forecast = self.forecast()
        write_json(self.output / "forecast.json", forecast)
        predictions, failed = self.predictions()
        check_same_protocol(self.trainer, predictions.methods)
        predictions.write(self.output)
        metrics = {"schema": SCHEMA, "kind": BENCHMARK}
        metrics |= evaluate(predictions, self.settings.comparison, self.found.tree.linkage)
        for name, method in predictions.methods.items():
            metrics["methods"][name]["cost"] = self.cost(method)
        metrics |= {
            "plan": plan | {"in_words": in_words(plan)},
            "failed": failed,
            "data": data_facts(self.prepared),
            "hierarchy": {
                "origin": self.found.origin,
                "without_validation": without_validation(self.prepared, self.found.hierarchy),
            }
            | self.quality(predictions.methods),
            "backbone": self.backbone.key,
            "forecast": forecast | {"observed": self.observed(predictions)},
        }
        if sweep:
            metrics["sweep"] = self.sweep(predictions, forecast)
        self.write_costs(predictions.methods)
        if self.prepared.vectors is None:  # what has no network can't predict from images
            self.save_bundles(predictions)
        write_json(self.output / "environment.json", environment() | {"command": self.command})
        del predictions
        shutil.rmtree(self.large_tables, ignore_errors=True)
        return cast(BenchmarkMetrics, write_metrics(self.output, metrics))

    @cached_property
    def trainer(self) -> Trainer:
        return Trainer(
            self.output / "models",
            self.prepared,
            self.features,
            self.backbone.key,
            self.settings.training,
            self.jobs,
        )

    @cached_property
    def context(self) -> Context:
        return Context(
            self.prepared,
            self.features,
            self.backbone,
            self.found.hierarchy,
            self.settings,
            self.trainer,
            self.output / "models",
            self.learn_elsewhere,
            self.cache,
        )

    @cached_property
    def trees(self) -> dict[str, ClassTree]:
        """One tree a linkage, the run's first."""
        own = self.found.tree
        others = [n for n in dict.fromkeys((*LINKAGES, *self.settings.sweep.linkages)) if n != own.method]
        return {own.method: own} | {name: class_tree(self.prepared, self.features, name) for name in others}

    @cached_property
    def rows(self) -> dict[str, np.ndarray]:
        return {split: self.prepared.rows(split) for split in ("train", "val", "test")}

    @cached_property
    def val_truth(self) -> np.ndarray:
        classes = np.array(self.prepared.manifest.classes)
        return np.searchsorted(classes, self.prepared.manifest.labels[self.rows["val"]].astype(str))

    def forecast(self) -> dict[str, Any]:
        """Train flat, and forecast what its validation confusions guarantee, before anything else is trained."""
        classes, seeds = self.prepared.manifest.classes, self.context.seeds
        self.trainer.train([flat_job(classes, seed) for seed in seeds])
        flat_val = np.stack([self.trainer.flat(seed).val_probs[self.rows["val"]] for seed in seeds])
        cuts = forecast_cuts(list(self.trees.values()), self.val_truth, flat_val, FORECAST_MACROS)
        confusions = confusion_of_seeds(self.val_truth, flat_val)
        return cuts | {"used": {"origin": self.found.origin} | described(confusions, self.found.hierarchy)}

    def predictions(self) -> tuple[Predictions, dict[str, str]]:
        """Train everybody, and collect the answers and the reasons of those that failed."""
        must = (FLAT, self.settings.comparison.primary)
        methods = taking_part(self.settings)
        heads, unknown = collect(methods, lambda method: method.heads(self.context), must)
        own = [job for seed in self.context.seeds for job in two_stage_jobs(self.found.hierarchy, seed)]
        self.trainer.train([*own, *(job for jobs in heads.values() for job in jobs)])
        known = [method for method in methods if method.name not in unknown]
        found, failed = collect(known, self._fit, must)
        tables = {
            key: self._stages(key, self.rows[split])
            for key, split in (("probs", "test"), ("val_probs", "val"))
        }
        test, manifest = self.rows["test"], self.prepared.manifest
        predictions = Predictions(
            manifest.table["file_name"].to_numpy(dtype=object)[test],
            manifest.products[test],
            manifest.labels[test],
            self.found.hierarchy,
            tuple(self.context.seeds),
            found,
            manifest.labels[self.rows["val"]],
            tables["probs"][0],
            tables["val_probs"][0],
            tables["probs"][1],
            tables["val_probs"][1],
            independent_hierarchy(manifest, self.settings.hierarchy, self.found.hierarchy),
        )
        return predictions, unknown | failed

    def _fit(self, method: Method) -> MethodResult:
        return on_disk(method.fit(self.context), self.large_tables, method.name)

    @property
    def large_tables(self) -> Path:
        """Where large tables lie while they are judged."""
        return self.output / "models" / "large-tables"

    def _stages(self, key: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what router and sub-models of the run's hierarchy say, (n_seeds, n, n_macros) and (.., n_slots)."""
        hierarchy, seeds = self.found.hierarchy, self.context.seeds
        router = [getattr(self.trainer.fitted(router_job(hierarchy, seed)), key)[rows] for seed in seeds]
        within = [self.trainer.within(hierarchy, seed, rows, key) for seed in seeds]
        inside = table_on_disk(np.stack(within), self.large_tables, f"within-{key}")
        return np.stack(router).astype(np.float32), inside

    def cost(self, method: MethodResult) -> dict[str, float]:
        return method_cost(method, self.trainer, self.backbone.n_parameters)

    def write_costs(self, methods: Mapping[str, MethodResult]) -> None:
        """Measure once for the same methods, heads and features: going on need not measure again."""
        tables = [jobs for method in methods.values() for jobs in method.jobs]
        heads = {job.name: job for jobs in tables for job in jobs}
        inputs = {
            "methods": list(methods),
            "backbone": self.backbone.key,
            "data": self.prepared.fingerprint,
            "heads": {name: fingerprint(self.trainer.made_from(job)) for name, job in heads.items()},
        }

        def make(part: Path) -> None:
            write_json(
                part / "costs.json", measured_costs(methods, self.trainer, self.backbone, self.features)
            )

        step(self.output / "costs", inputs, make)
        write_whole(self.output / "costs.json", (self.output / "costs" / "costs.json").read_bytes())

    def quality(self, methods: Mapping[str, MethodResult]) -> dict[str, Any]:
        train, labels = self.rows["train"], self.prepared.manifest.labels
        own = self.found.hierarchy
        metrics = hierarchy_quality(
            own, self.found.tree, self.features[train], labels[train], self.settings.hierarchy.bootstraps
        )
        others = {name: c.hierarchy for name, c in methods.items() if c.role == "hierarchy" and c.hierarchy}
        brought = independent_hierarchy(self.prepared.manifest, self.settings.hierarchy, own)
        if brought is not None:
            others[f"independent: {brought[0]}"] = brought[1]
        others |= {
            f"linkage {name}": tree.cut(own.n_macros)
            for name, tree in self.trees.items()
            if tree is not self.found.tree
        }
        return metrics | {"agreement": agreement(own, others, others.__getitem__)}

    def observed(self, predictions: Predictions) -> dict[str, float]:
        routed = predictions.router.argmax(2)
        answers = predictions.answers(self.settings.comparison.primary)
        return observed_outcome(
            predictions.truth, predictions.probs("flat"), routed, answers, self.found.hierarchy
        )

    def sweep(self, predictions: Predictions, forecast: Mapping[str, Any]) -> dict[str, Any]:
        chosen = {linkage: self.trees[linkage] for linkage in self.settings.sweep.linkages}
        macros = tuple(k for k in self.settings.sweep.macros if 2 <= k <= len(self.prepared.manifest.classes))
        seeds, test = self.context.seeds, self.rows["test"]
        cuts = [tree.cut(k) for tree in chosen.values() for k in macros]
        self.trainer.train([job for cut in cuts for seed in seeds for job in two_stage_jobs(cut, seed)])
        rule = parse_rule(self.settings.comparison.primary)

        def answers(hierarchy: Hierarchy) -> tuple[np.ndarray, np.ndarray]:
            tables = [
                {
                    "macro_probs": self.trainer.fitted(router_job(hierarchy, seed)).probs[test],
                    "within_probs": self.trainer.within(hierarchy, seed, test),
                    "flat_probs": predictions.probs("flat")[seed],
                }
                for seed in seeds
            ]
            given = [route(rule, hierarchy=hierarchy, **table).argmax(1) for table in tables]
            return np.stack(given), np.stack([table["macro_probs"].argmax(1) for table in tables])

        said = {(c["linkage"], c["macros"]): c for c in forecast["candidates"]}
        return sweep_cuts(
            chosen, macros, answers, predictions.correct("flat"), predictions.truth, predictions.products,
            self.settings.comparison, said,
        )  # fmt: skip

    def learn_elsewhere(self, name: str) -> Hierarchy:
        """Learn the hierarchy from another backbone's features: `vgg16`, `efficientnet_lite0:gray`, `:none`."""
        if self.prepared.vectors is not None:
            raise ValueError(f"Features of {name} need images; a features table has none.")
        base, _, variant = name.partition(":")
        changes = {"color": "gray"} if variant == "gray" else {"weights": variant} if variant else {}
        changes |= {"name": base, "batch_size": self.settings.backbone.batch_size}
        settings = BackboneSettings().model_copy(update=changes)
        _, features = prepare_features(self.prepared, settings, self.cache)
        return class_tree(self.prepared, features, self.found.tree.method).cut(self.found.hierarchy.n_macros)

    def save_bundles(self, predictions: Predictions) -> None:
        named = [FLAT, self.settings.comparison.primary, *self.settings.comparison.bundles]
        save_bundles(self.output / "bundles", self.context, self.found, predictions, named)
