"""A published study from the download to the verdict; each step goes on where it stopped."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aisles.data_prep.abo.curation import curate
from aisles.data_prep.abo.fetch import fetch_archives
from aisles.data_prep.abo.recipe import Recipe, load_recipe
from aisles.data_prep.io.files import write_whole
from aisles.experiments.benchmark.run import BenchmarkResult, run_benchmark
from aisles.experiments.metrics.answers import class_table
from aisles.experiments.runs.reader import read_run
from aisles.experiments.runs.writer import make_run_folder, write_json
from aisles.experiments.settings.benchmark import BenchmarkSettings
from aisles.experiments.settings.reading import read_settings
from aisles.experiments.training.bundle_evaluation import published_f1

from .preflight import Preflight, preflight
from .studies import STUDIES, Study

logger = logging.getLogger(__name__)
FLAT = "flat-fine-tuned"


@dataclass(frozen=True, eq=False)
class Reproduction:
    """What came out.

    Attributes
    ----------
    folder : Path
        `archives`, `data`, `features`, `run` with the report, and `reproduction.md`.
    needs : Preflight
    result : BenchmarkResult or None
        None where only the needs were asked for.
    """

    folder: Path
    needs: Preflight
    result: BenchmarkResult | None


def reproduce(
    name: str,
    output: str | Path,
    changes: Iterable[Any] = (),
    *,
    base_url: str | None = None,
    any_size: bool = False,
    recipe: str | None = None,
    backbone: str | None = None,
    weights: str = "imagenet",
    only_check: bool = False,
    command: str | None = None,
) -> Reproduction:
    """Fetch, curate, train, compare and report as a published study did, with the best flat model beside it.

    Parameters
    ----------
    name : str
        Of `studies.STUDIES`.
    output : path
        Run again with the same folder, it goes on where it was stopped.
    changes : iterable
        Of benchmark settings, as `read_settings` takes them, laid over the study's.
    base_url : str, optional
        Another server with the archives.
    any_size : bool
        Whether archives of other sizes are taken.
    recipe : str, optional
        Another recipe for the data set.
    backbone : str, optional
        Another network in the place of the study's, for curation too.
    weights : str
        imagenet, none, or a file of the backbone's weights.
    only_check : bool
        Whether to say only what is needed.
    command : str, optional
        What was typed.

    Returns
    -------
    Reproduction

    Raises
    ------
    ValueError
        If there is no such study.
    WeightsMissingError, OSError
        Before anything begins: if weights are missing, or the disk is too small.
    """
    study, output = STUDIES[name], Path(output).absolute()
    chosen = load_recipe(recipe or study.recipe)
    compared_by = backbone or chosen.similarity.backbone
    chosen.similarity.threshold(compared_by)
    given = [("backbone.weights", weights)] + ([("backbone.name", backbone)] if backbone else [])
    settings = read_settings(None, [*given, *changes], preset=study.preset)
    needs = preflight(study, chosen, settings, output, compared_by=compared_by, weights=weights)
    logger.info("%s", needs.text)
    if only_check:
        return Reproduction(output, needs, None)
    needs.check()
    make_run_folder(output)
    logger.info("1. Fetching the archives.")
    sizes = {archive: None if any_size else size for archive, size in study.sizes.items()}
    fetch_archives(output / "archives", base_url=base_url or study.base_url, sizes=sizes)
    logger.info("2. Curating the data set by the recipe %s.", chosen.name)
    cache = output / "features"
    curation = curate(
        output / "archives", output / "data", chosen, _embedding(compared_by, weights, cache),
        backbone=compared_by, weights=weights,
    )  # fmt: skip
    logger.info("3. Training flat and two-stage, and comparing them.")
    result = run_benchmark(curation.manifest, output / "run", settings, cache=cache, command=command)
    _write_summary(study, chosen, settings, result, output)
    return Reproduction(output, needs, result)


def _embedding(name: str, weights: str, cache: Path) -> Any:
    built: list[Any] = []

    def embed(paths: Sequence[Path]) -> np.ndarray:
        from aisles.models.backbones.registry import build_backbone
        from aisles.models.features import extract

        if not built:
            built.append(build_backbone(name, weights=weights))
        return extract(built[0], paths, cache=cache).vectors

    return embed


def _write_summary(
    study: Study, recipe: Recipe, settings: BenchmarkSettings, result: BenchmarkResult, output: Path
) -> None:
    """Write what came out beside what was published."""
    methods: Any = result.metrics["methods"]
    measured = methods[FLAT]["macro_f1"] if FLAT in methods else []
    flat = float(np.mean(measured)) if measured else None
    same = recipe.name == study.recipe and settings.backbone.name == "inception_v3"
    told_flat = "not measured" if flat is None else f"{flat:.3f}"
    told = [
        f"# {study.name}, done again",
        study.description + ".",
        f"**{result.metrics['verdict']}**",
        f"The flat fine-tuned network's macro F1: {told_flat}; published: {study.macro_f1:.2f}.",
    ]
    if not same:
        told.append(
            "Data set or backbone are not the study's: these figures say that everything works, and nothing about it."
        )
    told.append("Report: run/report.html. Per class, beside what was published: per_class.csv.")
    write_whole(output / "reproduction.md", "\n\n".join(told) + "\n")
    table = per_class(study, output / "run")
    if table is not None:
        write_whole(output / "per_class.csv", table.to_csv(index=False))
    write_json(
        output / "reproduction.json",
        {"study": study.name, "verdict": result.metrics["verdict"], "flat_macro_f1": flat,
         "published_macro_f1": study.macro_f1, "same_data_and_backbone": same},
    )  # fmt: skip


def per_class(study: Study, run: Path) -> pd.DataFrame | None:
    """Return precision, recall and F1 of the flat fine-tuned network by class beside the published F1.

    None if the network was not among the methods.
    """
    found = read_run(run)
    if FLAT not in found.answers_by:
        return None
    seeds = [class_table(found.truth, answers, found.classes) for answers in found.answers(FLAT)]
    published = published_f1(study.name)
    columns = {
        key: np.mean([getattr(t, key) for t in seeds], axis=0) for key in ("precision", "recall", "f1")
    }
    return pd.DataFrame(
        {"class": found.classes, **columns, "support": seeds[0].support}
        | {"published_f1": [published.get(name) for name in found.classes]}
    )
