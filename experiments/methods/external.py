"""Outside references: other libraries on the same features, images and classes (the extra `baselines`).

They choose their one setting (the inverse strength of regularization) on validation images, then are fitted to
training and validation images together, as every head is. They have no seed: one fit counts for every seed.
"""

import json
import logging
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from aisles.data_prep.io.step_cache import read_facts, step
from aisles.hierarchy.hierarchy import Hierarchy

from .registry import Context, MethodResult, register_method

if TYPE_CHECKING:
    from aisles.experiments.benchmark.preparation import PreparedData

logger = logging.getLogger(__name__)
STRENGTHS = (0.1, 1.0, 10.0)
ITERATIONS = 1_000
"""At most; enough to converge on features of some thousand images."""


@register_method(
    "hiclass",
    description="HiClass on the same features: local classifier per parent node",
    role="reference",
    module="hiclass",
    extra="baselines",
    full=True,
)
def hiclass(context: Context) -> MethodResult:
    """Fit the same regression at every parent node of the hierarchy; it gives answers without probabilities."""
    hierarchy, place = context.hierarchy, context.place("hiclass")
    inputs = {
        "version": 2, "data": context.prepared.fingerprint, "features": context.trainer.feature_key, "name": "hiclass",
        "strengths": STRENGTHS, "iterations": ITERATIONS, "macros": hierarchy.members,
    }  # fmt: skip
    with threadpool_limits(1):  # more threads wait for each other more than they help at this size
        step(place, inputs, lambda part: _fit(part, context.prepared, context.features, hierarchy))
    with np.load(place / "answers.npz", allow_pickle=False) as arrays:
        probs, val_probs = arrays["probs"], arrays["val_probs"]
    facts = read_facts(place / "budget.json")
    return MethodResult(
        probs,
        val_probs,
        answers_only=True,
        parameters=facts["parameters"],
        searched=len(STRENGTHS),
        deterministic=True,
        seconds=facts["seconds"],
    )


def _fit(part: Path, prepared: "PreparedData", features: np.ndarray, hierarchy: Hierarchy) -> None:
    rows = {split: prepared.rows(split) for split in ("train", "val", "test")}
    labels = prepared.manifest.labels.astype(str)
    start = time.perf_counter()
    val_probs = [_hiclass(features, labels, rows["train"], rows["val"], c, hierarchy) for c in STRENGTHS]
    truth = np.array(hierarchy.classes)
    right = [(truth[probs.argmax(1)] == labels[rows["val"]]).mean() for probs in val_probs]
    best = int(np.argmax(right))
    both = np.concatenate([rows["train"], rows["val"]])
    probs = _hiclass(features, labels, both, rows["test"], STRENGTHS[best], hierarchy)
    n_weights = (features.shape[1] + 1) * _n_outputs(hierarchy)
    facts: dict[str, Any] = {
        "strength": STRENGTHS[best], "val_accuracy": right[best], "images": len(both),
        "parameters": n_weights, "seconds": round(time.perf_counter() - start, 3),
    }  # fmt: skip
    np.savez(
        part / "answers.npz", probs=probs.astype(np.float32), val_probs=val_probs[best].astype(np.float32)
    )
    (part / "budget.json").write_text(json.dumps(facts, default=float))


def _n_outputs(hierarchy: Hierarchy) -> int:
    """Count the outputs of all regressions: HiClass has one at the root, too. Of two labels one output is enough."""
    return sum(size if size > 2 else size - 1 for size in (hierarchy.n_macros, *hierarchy.sizes))


def _classifier(strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, max_iter=ITERATIONS)


def _hiclass(features, labels, train, asked, strength: float, hierarchy: Hierarchy) -> np.ndarray:
    from hiclass import LocalClassifierPerParentNode  # pyright: ignore[reportMissingImports]

    macro_of = dict(zip(hierarchy.classes, hierarchy.macro_of, strict=True))
    paths = np.array([[f"macro {macro_of[label]}", label] for label in labels[train]], dtype=object)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LocalClassifierPerParentNode(_classifier(strength)).fit(features[train], paths)
        answers = np.asarray(model.predict(features[asked]))[:, 1].astype(str)
    return (answers[:, None] == np.array(hierarchy.classes)).astype(np.float64)
