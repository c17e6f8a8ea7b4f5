"""A curve of one data set: features once, then every point and draw as a step, judged and written on a page."""

import logging
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aisles.data_prep.images.features_table import is_features_table
from aisles.data_prep.io.files import features_cache
from aisles.data_prep.io.progress import progress
from aisles.data_prep.io.step_cache import is_made, step
from aisles.data_prep.io.workers import engine, spread
from aisles.experiments.benchmark.preparation import (
    PreparedData,
    check_hierarchy,
    find_hierarchy,
    prepare_coarse,
    prepare_data,
    prepare_features,
)
from aisles.experiments.methods.registry import find_method
from aisles.experiments.runs.provenance import environment
from aisles.experiments.runs.writer import check_apart, log_counts, run_folder, write_json
from aisles.experiments.settings.benchmark import BenchmarkSettings, ComparisonSettings

from .axes import Axis, Value, World, read_curve
from .judging import Point, judge_curve
from .page import write_page
from .points import load_draw, measure, save_draw

logger = logging.getLogger(__name__)
VERSION = 1
"""Raised whenever what a point measures changes."""
FLATS = ("flat-lda", "flat-logistic", "flat-knn")
COARSE = ("flat-coarse", "flat-coarse-lda", "coarse:soft", "coarse:hie")


@dataclass(frozen=True, eq=False)
class CurveResult:
    """What a curve found.

    Attributes
    ----------
    folder : Path
    facts : dict
        As `curve.json` holds it: `axis`, `draws`, `data`, and what `judging.judge_curve` returns.
    """

    folder: Path
    facts: dict[str, Any]

    @property
    def sentence(self) -> str:
        """What the primary's curve says."""
        return self.facts["ends"][self.facts["primary"]]["sentence"]

    @property
    def table(self) -> pd.DataFrame:
        """One row per value, one column per method: mean accuracy over draws."""
        rows = {
            row["value"]: {n: m["accuracy"] for n, m in row["methods"].items()}
            for row in self.facts["points"]
        }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis(self.facts["axis"])


def run_curve(
    data: str | Path,
    output: str | Path,
    curve: str,
    settings: BenchmarkSettings | None = None,
    *,
    draws: int = 5,
    cache: str | Path | None = None,
    backbone: Any = None,
    jobs: int | None = None,
    scheduler: str | None = None,
    command: str | None = None,
) -> CurveResult:
    """Compare flat and two-stage at several values of a condition; run again, it goes on where it stopped.

    Heads learn from training images alone and are not fitted again on validation images, so that the number of labels
    is what the axis says. Validation images choose settings, temperatures and the best flat method.

    Parameters
    ----------
    data, output, settings, cache, backbone
        As in `run_benchmark`. Methods are `settings.comparison.methods` unless these are the default ones.
    curve : str
        `1,2,5,10,20,all` (fine labels per class), or `AXIS=VALUE,VALUE`; see `axes.AXES`.
    draws : int
        Random draws per point, where there is something to draw.
    jobs : int, optional
        Points that are measured at once; by default as many as there are processors.
    scheduler : str, optional
        A Dask cluster that extracts features and measures the points.
    command : str, optional
        What was typed.

    Returns
    -------
    CurveResult

    Raises
    ------
    ValueError
        If the axis or a value can't be used, or the primary method fails.
    """
    settings, output = settings or BenchmarkSettings(), Path(output).absolute()
    axis, values = read_curve(curve)
    if draws < 1:
        raise ValueError(f"A point needs at least one draw. Received: draws={draws}.")
    check_apart(Path(data), output)
    with run_folder(output), engine(scheduler) as places:
        if not is_features_table(data):
            features_cache(cache)  # what can't be written is said before images are read
        prepared = prepare_data(data, settings.data, settings.hierarchy.column)
        log_counts(prepared)
        check_hierarchy(prepared, settings.hierarchy)
        network, features = prepare_features(prepared, settings.backbone, cache, backbone)
        prepared = prepare_coarse(prepared, settings.backbone, network, cache)
        world = world_of(prepared, features, settings)
        primary, methods = methods_of(settings, axis, world)
        key = {
            "version": VERSION,
            "data": prepared.fingerprint,
            "backbone": network.key,
            "settings": world.settings.model_dump(mode="json"),
            "methods": list(methods),
        }
        points = _measured(world, axis, values, methods, draws, key, output / "points", places or jobs)
        facts = {
            "axis": axis.name,
            "description": axis.description,
            "values": list(values),
            "draws": draws,
            "data": {
                "name": Path(data).name,
                "fingerprint": prepared.fingerprint,
                "images": {split: len(prepared.rows(split)) for split in ("train", "val", "test")},
                "classes": len(prepared.manifest.classes),
                "macros": world.known.n_macros,
                "brought": world.hierarchy is not None,
            },
            "backbone": network.key,
            "command": command,
        }
        comparison = settings.comparison
        facts |= judge_curve(points, primary, margin=comparison.margin, alpha=comparison.alpha)
        if primary not in facts["ends"]:
            raise ValueError(f"The method {primary} failed: {facts['points'][0]['failed'].get(primary)}")
        write_json(output / "curve.json", facts)
        write_json(output / "environment.json", environment() | {"command": command})
        write_page(facts, output)
    return CurveResult(output, facts)


def world_of(prepared: PreparedData, features: np.ndarray, settings: BenchmarkSettings) -> World:
    """Return the world of all data: no refit on validation images, one seed per draw."""
    changed = settings.model_copy(
        update={
            "training": settings.training.model_copy(update={"refit": False}),
            "comparison": settings.comparison.model_copy(update={"seeds": 1}),
        }
    )
    known = find_hierarchy(prepared, features, settings.hierarchy).hierarchy
    h = settings.hierarchy
    brought = h.file is not None or h.column is not None or h.given is not None
    return World(prepared, features, changed, known if brought else None, known)


def methods_of(settings: BenchmarkSettings, axis: Axis, world: World) -> tuple[str, tuple[str, ...]]:
    """Return the primary method's name and all methods' names.

    The primary is the settings' rule with discriminants; where training images lose their class and keep their macro,
    with a router that learns from these.
    """
    rule = settings.comparison.primary
    coarse = axis.name == "labels" and world.hierarchy is not None
    primary = f"coarse:{rule}" if coarse else f"{rule}:lda"
    names: tuple[str, ...] = settings.comparison.methods
    if names == ComparisonSettings().methods:
        names = (*FLATS, f"{rule}:lda", "implied:lda", "hie:lda", *(COARSE if coarse else ()))
    names = tuple(dict.fromkeys((*FLATS[:1], *names, primary)))
    for name in names:
        find_method(name)
    return primary, names


def _measured(
    world: World,
    axis: Axis,
    values: Sequence[Value],
    methods: tuple[str, ...],
    draws: int,
    key: Mapping[str, Any],
    folder: Path,
    jobs: int | None,
) -> list[Point]:
    """Measure what is missing, and return the points."""
    places = {
        (value, draw): folder / f"{axis.name}-{value}" / f"draw-{draw}"
        for value in values
        for draw in range(draws if axis.drawn(value) else 1)
    }
    inputs = {at: {**key, "axis": axis.name, "value": at[0], "draw": at[1]} for at in places}
    missing = [at for at in places if not is_made(places[at], inputs[at])]
    if missing:
        logger.info("Measuring %d points; %d are there already.", len(missing), len(places) - len(missing))
        calls = ((world, axis, at, methods, places[at], inputs[at]) for at in missing)
        for _ in progress(spread(_measure_one, calls, jobs or -1), "Measuring", len(missing), "points"):
            pass
    return [
        Point(value, [load_draw(place) for (at, _), place in places.items() if at == value])
        for value in values
    ]


def _measure_one(
    world: World,
    axis: Axis,
    at: tuple[Value, int],
    methods: tuple[str, ...],
    folder: Path,
    inputs: Mapping[str, Any],
) -> None:
    """Measure one draw of one point as a step. Runs in any process."""
    value, draw = at
    generator = np.random.default_rng([draw, zlib.crc32(axis.name.encode())])
    changed = axis.apply(world, value, generator)
    step(folder, inputs, lambda part: save_draw(measure(changed, methods, part), part))
