"""A two-stage method counts as better only if the strongest flat model is beaten: worlds where the truth is planted."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from aisles.experiments.benchmark.evaluation import best_flat, evaluate
from aisles.experiments.benchmark.run import BenchmarkResult
from aisles.experiments.benchmark.summary import summary
from aisles.experiments.judge.across import combine_runs, write_across
from aisles.experiments.judge.latex import result_sentence
from aisles.experiments.methods.registry import MethodResult
from aisles.experiments.report.writing import write_report
from aisles.experiments.runs.predictions import Predictions
from aisles.experiments.runs.schema import BENCHMARK, SCHEMA, BenchmarkMetrics
from aisles.experiments.settings.benchmark import ComparisonSettings
from aisles.hierarchy.clustering import cluster_classes
from aisles.hierarchy.embeddings import ClassEmbeddings
from aisles.hierarchy.hierarchy import Hierarchy
from tests.experiments.report.conftest import completed

CLASSES = tuple(f"c{i}" for i in range(8))
HIERARCHY = Hierarchy(("M0", "M1", "M2", "M3"), tuple((f"c{2 * m}", f"c{2 * m + 1}") for m in range(4)))
N = {"test": 2_500, "val": 800}
SEEDS = 3
WORLDS = {
    "two-stage beats both": {"flat": 0.70, "flat-lda": 0.76, "soft": 0.81},
    "two-stage beats flat alone": {"flat": 0.70, "flat-lda": 0.76, "soft": 0.76},
    "two-stage beats flat and loses to the strongest": {"flat": 0.70, "flat-lda": 0.82, "soft": 0.76},
}
ROLES = {"flat": "flat", "flat-lda": "flat", "flat-knn": "flat", "soft": "two-stage"} | {
    "flat-fine-tuned": "flat", "separate": "two-stage"
}  # fmt: skip


def one_hot(answers: np.ndarray) -> np.ndarray:
    """Return 0.72 for the answer and 0.04 for the others, (..., 8)."""
    return (0.68 * np.eye(8)[answers] + 0.04).astype(np.float32)


def planted(
    accuracies: dict[str, float], seed: int = 0, on_validation: dict[str, float] | None = None
) -> Predictions:
    """Plant methods of stated accuracy: an image's difficulty is shared, a model's and an image's own luck are not.

    `on_validation` holds the accuracy on validation images where it is another.
    """
    rng = np.random.default_rng([11, seed])
    truth = {split: rng.integers(0, 8, n) for split, n in N.items()}
    shared = {split: rng.normal(size=n) for split, n in N.items()}
    methods = {}
    for name, accuracy in accuracies.items():
        tables = {}
        for split, n in N.items():
            luck = 0.4 * rng.normal(size=(SEEDS, n)) + 0.02 * rng.normal(size=(SEEDS, 1))
            share = (on_validation or {}).get(name, accuracy) if split == "val" else accuracy
            right = 0.9165 * shared[split] + luck < norm.ppf(share)
            tables[split] = one_hot(np.where(right, truth[split], truth[split] ^ 1))
        routed = name == "soft"
        macro = np.full((SEEDS, N["test"], 4), 0.1, np.float32)
        macro[:, np.arange(N["test"]), truth["test"] // 2] = 0.7
        methods[name] = MethodResult(
            tables["test"], tables["val"], hierarchy=HIERARCHY if routed else None,
            macro_probs=macro if routed else None, name=name, role=ROLES[name], what=name,
        )  # fmt: skip
    names = np.array(CLASSES, dtype=object)
    files = np.array([f"{i}.png" for i in range(N["test"])], dtype=object)
    uniform = {split: np.full((SEEDS, n, 4), 0.25, np.float32) for split, n in N.items()}
    halves = {split: np.full((SEEDS, n, 8), 0.5, np.float32) for split, n in N.items()}
    return Predictions(
        files, files, names[truth["test"]], HIERARCHY, tuple(range(SEEDS)), methods, names[truth["val"]],
        uniform["test"], uniform["val"], halves["test"], halves["val"],
    )  # fmt: skip


def whole(predictions: Predictions, linkage: np.ndarray, images: str) -> dict:
    """Return a run's metrics: what predictions say as a benchmark computes it, the rest neutral."""
    found = evaluate(predictions, ComparisonSettings(methods=("flat", "flat-lda")), linkage)
    more = {
        "schema": SCHEMA,
        "kind": BENCHMARK,
        "data": {"images": {"train": 900, "val": N["val"], "test": N["test"]}, "test_images": images},
        "hierarchy": {"origin": "planted"},
        "forecast": {"candidates": [{"linkage": "ward", "macros": 2, "sizes": [2, 2]}]},
    }
    return completed(found | more, BenchmarkMetrics)


@pytest.fixture(scope="module", params=WORLDS)
def world(request, tmp_path_factory):
    """Return a world's name, its metrics and a run folder with its report."""
    folder = tmp_path_factory.mktemp("world") / "run"
    return request.param, written(planted(WORLDS[request.param]), folder, request.param), folder


def written(predictions: Predictions, folder: Path, images: str) -> dict:
    """Write a run folder of predictions with its report; return its metrics."""
    folder.mkdir()
    tree = cluster_classes(ClassEmbeddings(CLASSES, np.eye(8)))
    metrics = whole(predictions, tree.linkage, images)
    predictions.write(folder)
    rows = [
        f"{file},{label},test" for file, label in zip(predictions.file_names, predictions.labels, strict=True)
    ]
    (folder / "manifest.csv").write_text("\n".join(["file_name,label,split", *rows]) + "\n")
    members = dict(zip(HIERARCHY.macros, map(list, HIERARCHY.members), strict=True))
    for name, content in (("hierarchy.json", {"macros": members}), ("metrics.json", metrics)):
        (folder / name).write_text(json.dumps(content))
    (folder / "tree.json").write_text(tree.to_json())
    (folder / "settings.toml").write_text('[comparison]\nprimary = "soft"\n')
    write_report(folder)
    return metrics


def texts(metrics, folder) -> dict[str, str]:
    """Return every place that tells a person who won."""
    result = BenchmarkResult(folder, metrics)
    markdown = (folder / "report.md").read_text(encoding="utf-8")
    return {
        "metrics": metrics["verdict"],
        "terminal": summary(result).split("Verdict: ")[1].splitlines()[0],
        "python": repr(result),
        "report": markdown.split("## ")[0],
        "paper": result_sentence(metrics).split(". ")[0],
    }


def test_the_verdict_follows_the_strongest_flat_model(world):
    name, metrics, folder = world
    strongest, said = metrics["best_flat"], texts(metrics, folder)
    assert strongest["name"] == "flat-lda"
    against_best, against_flat = strongest["comparisons"][0], metrics["comparisons"][0]
    assert (against_best["a"], against_best["b"], against_flat["a"]) == ("flat-lda", "soft", "flat")
    assert against_flat["verdict"] == "better"  # in every world, so flat alone would always tell of a win
    won = ("soft is better than", "The two-stage classifier is better", "more accurate")
    wins = {where: any(words in text for words in won) for where, text in said.items()}
    if name == "two-stage beats both":
        assert against_best["verdict"] == "better" and against_best["interval"][0] > 0
        assert metrics["verdict"].startswith("soft is better than flat-lda: ")
        assert wins["metrics"] and wins["terminal"] and wins["report"] and wins["paper"]
        assert "flat-lda" in said["python"] and said["python"].endswith("better)")
        return
    assert (
        against_best["verdict"]
        in {
            "two-stage beats flat alone": ("equivalent", "no difference shown"),
            "two-stage beats flat and loses to the strongest": ("worse",),
        }[name]
    )
    assert not any(wins.values()), wins
    assert "soft beats flat alone, which is not the strongest flat model" in metrics["verdict"]
    assert metrics["verdict"][:60] in " ".join(said["terminal"].split())
    worse = against_best["verdict"] == "worse"
    together = "between the two-stage classifier and the best flat model"
    opening = "The two-stage classifier is worse: " if worse else together
    assert opening in " ".join(said["report"].split())
    assert "flat-lda" in said["python"] and not said["python"].endswith(" better)")
    assert "flat-lda" in said["paper"]


def test_the_plot_that_opens_the_report_shows_the_strongest_flat_model(world):
    name, metrics, folder = world
    html = (folder / "report.html").read_text(encoding="utf-8")
    first = html[html.index("<svg") : html.index("</svg>")]
    assert "Difference in accuracy against flat-lda" in first
    shown = float(re.search(r"soft ([+\u2212-][\d.]+) \(", first).group(1).replace("\u2212", "-"))
    assert shown == pytest.approx(100 * metrics["best_flat"]["comparisons"][0]["difference"], abs=0.051)


def test_the_report_says_that_its_smallest_difference_is_not_corrected(world):
    text = " ".join((world[2] / "report.md").read_text(encoding="utf-8").split())
    assert "with 80 % power in one comparison; it is uncorrected" in text


def test_several_data_sets_together_are_judged_against_their_strongest_flat_models(tmp_path):
    linkage = cluster_classes(ClassEmbeddings(CLASSES, np.eye(8))).linkage
    for seed in range(3):
        predictions = planted(WORLDS["two-stage beats flat alone"], seed)
        (tmp_path / f"set{seed}").mkdir()
        metrics = whole(predictions, linkage, str(seed))
        (tmp_path / f"set{seed}" / "metrics.json").write_text(json.dumps(metrics))
    across = combine_runs([tmp_path / f"set{seed}" for seed in range(3)])
    assert across.verdict != "better" and "best flat" in across.sentence()
    own = [json.loads((tmp_path / f"set{s}" / "metrics.json").read_text())["best_flat"] for s in range(3)]
    assert [c["difference"] for c in across.comparisons] == [b["comparisons"][0]["difference"] for b in own]


def test_validation_images_name_the_strongest_flat_model_and_test_images_do_not():
    found = planted({"flat": 0.70, "flat-lda": 0.76, "soft": 0.81})
    wrong = np.repeat(one_hot(found.truth ^ 1)[None], SEEDS, axis=0)
    spoiled = {**found.methods, "flat-lda": replace(found.methods["flat-lda"], probs=wrong)}
    assert best_flat(found) == "flat-lda"
    other = replace(found, methods=spoiled)
    assert other.correct("flat-lda").mean() == 0 and best_flat(other) == "flat-lda"


@pytest.mark.parametrize("preferred", ["flat-knn", "flat"])
def test_a_weak_flat_model_that_validation_images_prefer_makes_no_win(tmp_path, preferred):
    accuracies = {"flat": 0.70, "flat-knn": 0.72, "flat-lda": 0.80, "soft": 0.80}
    on_validation = {"flat": 0.60, "flat-knn": 0.60, "flat-lda": 0.60} | {preferred: 0.75}
    metrics = written(planted(accuracies, on_validation=on_validation), tmp_path / "run", "weak choice")
    strongest, said = metrics["best_flat"], texts(metrics, tmp_path / "run")
    (judged,) = strongest["comparisons"]
    assert strongest["name"] == judged["a"] == preferred
    assert judged["verdict"] == "better than some" and judged["unbeaten"] == ["flat-lda"]
    assert (
        judged["interval"][0] > 0 and judged["p_value"] < 0.05
    )  # against validation's choice alone it would win
    assert metrics["verdict"].startswith("No advantage shown of soft over flat: ")
    assert (
        f"against {preferred}, which validation images prefer, but it is not shown better than flat-lda ("
        in said["metrics"]
    )
    assert "not than flat-lda" in summary(BenchmarkResult(tmp_path / "run", metrics))
    assert (
        "No advantage shown: the two-stage classifier is better than the flat model that validation"
        in " ".join(said["report"].split())
    )
    assert "Not shown better than: flat-lda." in " ".join(said["report"].split())
    assert "No advantage of soft was shown over every flat method" in said["paper"]
    assert not any(
        words in text
        for text in said.values()
        for words in ("soft is better than", "is better:", "more accurate")
    )


def test_a_method_that_beats_every_flat_model_is_better_whichever_validation_prefers():
    accuracies = {"flat": 0.70, "flat-knn": 0.72, "flat-lda": 0.76, "soft": 0.82}
    predictions = planted(accuracies, on_validation={"flat-knn": 0.9})
    tree = cluster_classes(ClassEmbeddings(CLASSES, np.eye(8)))
    (judged,) = whole(predictions, tree.linkage, "all")["best_flat"]["comparisons"]
    assert judged["a"] == "flat-knn" and judged["verdict"] == "better" and "unbeaten" not in judged


def sets_of(folder, accuracies, on_validation, seeds=range(3)):
    """Write a run of each seed; return their folders."""
    for seed in seeds:
        written(planted(accuracies, seed, on_validation=on_validation), folder / f"set{seed}", str(seed))
    return [folder / f"set{seed}" for seed in seeds]


def test_several_weak_choices_of_validation_images_make_no_win_together(tmp_path):
    accuracies = {"flat": 0.70, "flat-knn": 0.72, "flat-lda": 0.80, "soft": 0.80}
    across = combine_runs(sets_of(tmp_path, accuracies, {"flat-knn": 0.9}))
    assert [c["verdict"] for c in across.comparisons] == ["better than some"] * 3
    assert across.combined.low > 0 and across.verdict == "better than some"
    assert across.unbeaten == ("flat-lda",) and set(across.against) == {"flat", "flat-knn", "flat-lda"}
    assert across.sentence().startswith("No advantage shown of soft over flat, over 3 data sets: +")
    assert "But soft is not shown better than flat-lda (" in across.sentence()
    write_across(across, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "across.json").read_text())
    assert content["verdict"] == "better than some" and content["unbeaten"] == ["flat-lda"]
    assert "| flat-lda | " in (tmp_path / "out" / "across.md").read_text()


def test_sets_too_small_to_show_an_advantage_each_still_meet_every_flat_model_together(tmp_path):
    accuracies = {"flat": 0.70, "flat-knn": 0.775, "flat-lda": 0.80, "soft": 0.80}
    across = combine_runs(sets_of(tmp_path, accuracies, {"flat-knn": 0.9}, range(6)))
    assert across.combined.low > 0 and across.verdict == "better than some" and "flat-lda" in across.unbeaten


def test_a_method_that_beats_every_flat_model_in_all_sets_is_better_over_them(tmp_path):
    accuracies = {"flat": 0.70, "flat-knn": 0.72, "flat-lda": 0.76, "soft": 0.84}
    folders = sets_of(tmp_path, accuracies, {"flat-knn": 0.9}, range(4))
    across = combine_runs(folders)
    assert across.verdict == "better" and across.unbeaten == ()
    lda = across.against["flat-lda"]
    assert lda is not None and 0.06 < lda.mean < 0.10
    assert across.sentence().startswith("soft is better than best flat, over 4 data sets: +")


def test_a_flat_model_that_one_set_alone_has_and_that_is_not_beaten_there_keeps_the_claim_back(tmp_path):
    without = {"flat": 0.70, "flat-knn": 0.72, "soft": 0.80}
    folders = sets_of(tmp_path, without, {"flat-knn": 0.9}, range(2))
    folders += sets_of(tmp_path, without | {"flat-lda": 0.80}, {"flat-knn": 0.9}, range(2, 3))
    across = combine_runs(folders)
    assert across.against["flat-lda"] is None and across.unbeaten == ("flat-lda",)
    assert across.verdict == "better than some"
    assert "not shown better than flat-lda." in across.sentence()


@pytest.mark.parametrize(("tuned_flat", "verdict"), [(0.88, "worse"), (0.74, "better")])
def test_two_stages_that_fine_tune_meet_the_best_of_all_flat_models(tmp_path, tuned_flat, verdict):
    accuracies = {
        "flat": 0.70,
        "flat-lda": 0.76,
        "soft": 0.75,
        "flat-fine-tuned": tuned_flat,
        "separate": 0.84,
    }
    predictions = planted(accuracies)
    for name in ("flat-fine-tuned", "separate"):
        predictions.methods[name] = replace(predictions.methods[name], protocol="fine-tuned")
    metrics = written(predictions, tmp_path / "run", "fine-tuned")
    soft, separate = metrics["best_flat"]["comparisons"]
    assert metrics["best_flat"]["name"] == soft["a"] == "flat-lda"
    assert (separate["b"], separate["verdict"]) == ("separate", verdict)
    assert (
        separate["a"] == max(("flat-lda", 0.76), ("flat-fine-tuned", tuned_flat), key=lambda each: each[1])[0]
    )
    if verdict == "worse":
        said = summary(BenchmarkResult(tmp_path / "run", metrics))
        assert "against flat-fine-tuned, worse" in said and "separate is better" not in said
        assert "worse (against flat-fine-tuned)" in (tmp_path / "run" / "report.md").read_text(
            encoding="utf-8"
        )
