"""What each change of the pipeline is worth alone: preprocessing, square root, head, backbone.

    python -m experiments.lab.each_change DATA --folder FOLDER --result experiments/lab/results/each-change-NAME.json

Question: the flat model became stronger by several changes at once; how much does each give when nothing else moves?
Every row of the table is two pipelines that differ in one thing, on the same test images, judged by the project's own
statistics, all rows corrected together (step-down max-T). The rows are fixed below, before anything is trained;
validation images choose epochs, shrinkage and temperatures; test images choose nothing. A table in Markdown goes
beside the JSON. A stopped run goes on: trained heads stay in FOLDER.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from aisles.experiments.benchmark.preparation import prepare_data, prepare_features
from aisles.experiments.methods.head_jobs import Trainer, flat_job, with_head
from aisles.experiments.settings.benchmark import BackboneSettings, BenchmarkSettings
from aisles.experiments.stats.points import interval_in_points, signed
from aisles.experiments.stats.verdict import as_json, compare_family
from aisles.models.heads.closed_form import fit_lda, lda_grid
from aisles.models.heads.registry import HEADS, register_head

from .result_files import result_parser, with_origin, write_result

LITE0, LITE2, DINO = "efficientnet_lite0", "efficientnet_lite2", "dinov2_small"


def _one_map(rooted: bool) -> Any:
    """Return the discriminant's grid without, or with nothing but, square-root features."""

    def grid(background: Any) -> list[dict[str, Any]]:
        return [setting for setting in lda_grid(background) if (setting["feature_map"] != "raw") == rooted]

    return grid


for _name, _rooted in (("lda-raw", False), ("lda-root", True)):
    register_head(
        _name,
        description=f"shrinkage linear discriminant, {'square-root' if _rooted else 'raw'} features only",
        grid=_one_map(_rooted),
        deterministic=True,
    )(fit_lda)


@dataclass(frozen=True)
class Pipeline:
    """A flat model: backbone, what happens to images of another shape, and head."""

    backbone: str
    fit: str
    head: str

    def __str__(self) -> str:
        return f"{self.backbone}, {self.fit}, {self.head}"


@dataclass(frozen=True)
class Change:
    """One thing that differs between two pipelines."""

    what: str
    before: Pipeline
    after: Pipeline

    def __post_init__(self) -> None:
        pairs = zip(astuple(self.before), astuple(self.after), strict=True)
        if sum(old != new for old, new in pairs) != 1:
            raise ValueError(
                f"A change alters one thing. Received: {self.before} -> {self.after} ({self.what})."
            )


def _change(what: str, *before: str, **new: str) -> Change:
    old = Pipeline(*before)
    return Change(what, old, replace(old, **new))


CHANGES = (
    _change("preprocessing", LITE0, "squash", "v1.3", fit="published"),
    _change("preprocessing", LITE0, "squash", "lda", fit="published"),
    _change("square root", LITE0, "squash", "lda-raw", head="lda-root"),
    _change("square root", LITE0, "published", "lda-raw", head="lda-root"),
    _change("square root", LITE2, "published", "lda-raw", head="lda-root"),
    _change("head", LITE0, "squash", "v1.3", head="lda"),
    _change("head", LITE0, "published", "v1.3", head="lda"),
    _change("head", LITE2, "published", "v1.3", head="lda"),
    _change("backbone", LITE0, "published", "v1.3", backbone=LITE2),
    _change("backbone", LITE0, "published", "lda", backbone=LITE2),
    _change("joined", LITE0, "published", "lda", backbone=f"{LITE0}+{LITE2}"),
    _change("joined", LITE2, "published", "lda", backbone=f"{LITE0}+{LITE2}"),
    _change("joined", LITE2, "published", "lda", backbone=f"{LITE2}+{DINO}"),
)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a pipeline answers.

    Attributes
    ----------
    correct : ndarray of bool of shape (n_seeds, n_test)
        A head without randomness gives the same row for every seed.
    val_accuracy : float
        Mean over seeds, of heads that learned from training images alone.
    searched : int
        Settings tried on validation images.
    val_likelihood : float
        Mean log-likelihood of validation images, over seeds; decides between equal accuracies.
    """

    correct: np.ndarray
    val_accuracy: float
    searched: int
    val_likelihood: float = 0.0


def outcomes(
    data: Path, folder: Path, pipelines: Iterable[Pipeline], n_seeds: int
) -> tuple[dict[Pipeline, Outcome], np.ndarray, dict[str, int]]:
    """Train every pipeline; return outcomes, the test images' products, and how many images each split has."""
    settings = BenchmarkSettings()
    prepared = prepare_data(data, settings.data)
    classes, rows = prepared.manifest.classes, {s: prepared.rows(s) for s in ("train", "val", "test")}
    truth = np.searchsorted(np.array(classes), prepared.manifest.labels.astype(str))
    found, by_features = {}, {}
    for pipeline in pipelines:
        by_features.setdefault((pipeline.backbone, pipeline.fit), []).append(pipeline)
    for (name, fit), some in by_features.items():
        backbone, features = prepare_features(prepared, BackboneSettings(name=name, fit=fit))
        for pipeline in some:
            place = folder / f"{name}-{fit}"
            trainer = Trainer(place, prepared, features, backbone.key, settings.training, jobs=1)
            seeds = range(1 if HEADS[pipeline.head].deterministic else n_seeds)
            jobs = [with_head(flat_job(classes, seed), pipeline.head) for seed in seeds]
            fitted = [trainer.fitted(job) for job in jobs]
            right = np.stack([model.probs[rows["test"]].argmax(1) == truth[rows["test"]] for model in fitted])
            val, of_val = rows["val"], truth[rows["val"]]
            known = [model.val_probs[val].argmax(1) == of_val for model in fitted]
            of_truth = [model.val_probs[val][np.arange(len(val)), of_val] for model in fitted]
            likely = [np.log(np.maximum(probs, 1e-12)).mean() for probs in of_truth]
            found[pipeline] = Outcome(
                np.repeat(right, n_seeds // len(right), axis=0),
                float(np.mean(known)),
                trainer.budget(jobs[0]).searched,
                float(np.mean(likely)),
            )
    return found, prepared.manifest.products[rows["test"]], {s: len(r) for s, r in rows.items()}


def judged(
    changes: Sequence[Change], found: Mapping[Pipeline, Outcome], products: np.ndarray
) -> list[dict[str, Any]]:
    """Judge what follows each change against what precedes it, all together.

    Returns
    -------
    list of dict
        One per change: `change`, `before`, `after`, `val_accuracy` (before, after), `searched` (before, after) and the
        comparison as `metrics.json` holds it.
    """
    correct = {str(pipeline): outcome.correct for pipeline, outcome in found.items()}
    family = compare_family([(str(c.before), str(c.after)) for c in changes], correct, products)
    return [
        {
            "change": change.what,
            "before": str(change.before),
            "after": str(change.after),
            "val_accuracy": [found[p].val_accuracy for p in (change.before, change.after)],
            "searched": [found[p].searched for p in (change.before, change.after)],
            "comparison": {k: v for k, v in as_json(comparison).items() if k not in ("mcnemar",)},
        }
        for change, comparison in zip(changes, family, strict=True)
    ]


def note(result: Mapping[str, Any]) -> str:
    """Write the result as Markdown."""
    images = result["images"]
    lines = [
        f"# Each change alone: {result['name']}",
        "",
        "Question: the flat model became stronger by several changes at once; what is each worth when the rest stays?",
        f"Date: {result['date']}. Hardware: {result['processors']} processors, no GPU.",
        f"Command: `{result['command']}`",
        "",
        "| change | before | after | accuracy | difference, points (95 %) | simultaneous | corrected p | verdict "
        "| on validation |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in result["changes"]:
        c, val = row["comparison"], row["val_accuracy"]
        lines.append(
            f"| {row['change']} | {row['before']} | {row['after']} | {c['accuracy_a']:.3f} -> {c['accuracy_b']:.3f} "
            f"| {signed(100 * c['difference'])} ({interval_in_points(c['interval'])}) "
            f"| {interval_in_points(c['simultaneous'])} "
            f"| {c['p_corrected']:.2g} | {c['verdict']} | {val[0]:.3f} -> {val[1]:.3f} |"
        )
    unknown = "" if result["products_known"] else " (products are not known)"
    lines += [
        "",
        f"{images['test']} test images, trained on {images['train']} + {images['val']}; {result['n_seeds']} training "
        f"seeds where a head has any (v1.3; discriminants have none). Paired by image{unknown}; the "
        f"{len(result['changes'])} comparisons are one family: p by step-down max-T; the simultaneous intervals hold "
        f"for all of them together, the first ones each for itself.{disagreeing(result['changes'])} "
        "lda-raw and lda-root: the discriminant confined to raw and to square-root features; lda chooses "
        "between them on validation images.",
    ]
    return "\n".join(lines) + "\n"


def disagreeing(changes: Sequence[Mapping[str, Any]]) -> str:
    """Return why a step-down p may be below 0.05 where the simultaneous interval holds 0, and where that is so here."""
    names = [
        f"{row['change']} on {row['before']}"
        for row in changes
        for c in [row["comparison"]]
        if c["p_corrected"] < c["alpha"] and c["simultaneous"][0] <= 0 <= c["simultaneous"][1]
    ]
    if not names:
        return ""
    return (
        " A step-down test leaves out what it has shown already, a single-step simultaneous interval doesn't, so the "
        f"two may disagree. Shown though the simultaneous interval holds 0: {'; '.join(names)}."
    )


def main(arguments: list[str] | None = None) -> None:
    """Train, judge, write."""
    parser = result_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args(arguments)
    pipelines = dict.fromkeys(p for change in CHANGES for p in (change.before, change.after))
    found, products, images = outcomes(given.data, given.folder, pipelines, given.seeds)
    facts = {
        "n_seeds": given.seeds,
        "images": images,
        "products_known": len(set(products)) < len(products),
        "changes": judged(CHANGES, found, products),
    }
    result = with_origin("each_change", given, f"--seeds {given.seeds}", facts)
    write_result(given.result, result, note(result))


if __name__ == "__main__":
    main()
