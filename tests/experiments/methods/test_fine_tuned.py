"""Fine-tuned networks in a run: judged against the flat model that was fine-tuned alike."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from aisles.experiments.benchmark.summary import summary
from aisles.experiments.methods import fine_tuned_networks
from aisles.experiments.methods.fine_tuned_networks import FineTuning
from aisles.experiments.methods.protocol import check_same_protocol
from aisles.experiments.methods.registry import MethodResult
from aisles.experiments.methods.routed import passes_of
from aisles.experiments.settings.benchmark import ComparisonSettings, explained_difference
from aisles.experiments.settings.reading import read_settings
from aisles.experiments.stats.verdict import compare
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.rules import parse_rule
from aisles.models.bundles.bundle import load_bundle
from aisles.models.fine_tuning.settings import Augmentation, FineTuningSettings
from experiments.lab.readme_table import table

pytestmark = pytest.mark.keras
SHORT = (
    "comparison.seeds=1", "training.epochs=2", "fine_tuning.frozen_epochs=4", "fine_tuning.tuned_epochs=1",
    "fine_tuning.frozen_rate=0.01", "fine_tuning.batch_size=16",
)  # fmt: skip


def methods(*names):
    return f"comparison.methods={json.dumps(names)}"


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, drawn_goods, small_run):
    folder = tmp_path_factory.mktemp("tuned") / "run"
    note = 'data.note="Drawn images."'
    saved = 'comparison.bundles=["fine-tuned", "flat-fine-tuned"]'
    return small_run(drawn_goods, folder, *SHORT, methods("fine-tuned", "hie"), note, saved)


def archive(folder, name):
    with np.load(folder / "probabilities" / f"{name}.npz", allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.mark.parametrize(
    ("asked", "baselines"),
    [
        ("fine-tuned", ["flat-fine-tuned"]),
        ("separate", ["flat-fine-tuned", "flat-fine-tuned-ensemble"]),
        ("flat-fine-tuned-ensemble", ["flat-fine-tuned", "separate"]),
        (
            "separate-from-flat",
            ["flat-fine-tuned", "flat-fine-tuned-again", "flat-fine-tuned-again-ensemble"],
        ),
        ("flat-fine-tuned-again", ["flat-fine-tuned"]),
    ],
)
def test_whoever_is_fine_tuned_brings_the_baselines_along(asked, baselines):
    everyone = ComparisonSettings(methods=(asked, "hie")).everyone
    assert sorted(everyone) == sorted({"flat", "soft", "hie", asked, *baselines})
    assert [name for name in everyone if name in baselines] == baselines


def test_an_unknown_method_is_refused_with_those_that_there_are():
    with pytest.raises(ValueError, match=r"Unknown method 'sharing:shared'.*separate-from-flat"):
        ComparisonSettings(methods=("sharing:shared",))


def test_a_tuned_backbone_is_judged_against_the_flat_model_fine_tuned_alike(tuned):
    assert not tuned.metrics["failed"]
    found = {comparison["b"]: comparison for comparison in tuned.metrics["comparisons"]}
    assert {name: found[name]["a"] for name in ("soft", "hie", "flat-fine-tuned", "fine-tuned")} == {
        "soft": "flat", "hie": "flat", "flat-fine-tuned": "flat", "fine-tuned": "flat-fine-tuned",
    }  # fmt: skip
    flat, two = archive(tuned.folder, "flat-fine-tuned"), archive(tuned.folder, "fine-tuned")
    right = [each["probs"].argmax(2) == each["truth"] for each in (flat, two)]
    again = compare(*right, names=("flat-fine-tuned", "fine-tuned"))
    assert found["fine-tuned"]["difference"] == pytest.approx(again.difference)
    assert "(against flat-fine-tuned)" in summary(tuned)


def test_its_probabilities_are_soft_routing_of_its_own_stages(tuned):
    found = archive(tuned.folder, "fine-tuned")
    macro = found["macro_probs"][:, :, found["macro_of"]]
    np.testing.assert_allclose(found["probs"], macro * found["inside"], atol=1e-6)
    np.testing.assert_allclose(found["val_probs"].sum(2), 1, atol=1e-5)


@pytest.mark.parametrize("name", ["fine-tuned", "flat-fine-tuned"])
def test_a_bundle_of_fine_tuned_networks_gives_the_runs_own_probabilities(tuned, name):
    table = pd.read_csv(tuned.folder / "manifest.csv")
    paths = [tuned.folder / file for file in table.loc[table["split"] == "test", "file_name"]]
    probs = load_bundle(tuned.folder / "bundles" / name).predict_proba(paths, calibrated=False)
    np.testing.assert_allclose(probs, archive(tuned.folder, name)["probs"][0], atol=1e-4)


def test_its_budget_counts_the_fine_tuning_that_it_rests_on(tuned):
    metrics = tuned.metrics["methods"]
    flat, two = metrics["flat-fine-tuned"]["cost"], metrics["fine-tuned"]["cost"]
    n = tuned.metrics["data"]["images"]["train"]
    assert flat["image_steps"] == flat["epochs"] * n and flat["backbone_passes"] == 1
    assert two["epochs"] > flat["epochs"] and two["image_steps"] > flat["image_steps"]
    assert two["backbone_passes"] == 1 and two["heads"] == 1 + sum(
        len(members) > 1 for members in tuned.metrics["macros"].values()
    )
    seconds = json.loads((tuned.folder / "costs.json").read_text())["methods"]
    assert 0 < seconds["flat-fine-tuned"]["training_seconds"] < seconds["fine-tuned"]["training_seconds"]


def test_the_report_names_the_baseline_and_repeats_the_note(tuned):
    page = (tuned.folder / "report.html").read_text()
    assert "fine-tuned against flat-fine-tuned" in page and "(against flat-fine-tuned)" in page
    verdict, _, rest = page.partition("Drawn images.")
    assert "No difference shown between the two-stage classifier and the flat model" in verdict
    assert "<svg" in rest and "<svg" not in verdict


def test_run_again_it_trains_nothing_and_finds_the_same(tuned, drawn_goods, small_run):
    before = (tuned.folder / "metrics.json").read_bytes()
    stamps = {path: path.stat().st_mtime_ns for path in tuned.folder.rglob("*.keras")}
    note = 'data.note="Drawn images."'
    saved = 'comparison.bundles=["fine-tuned", "flat-fine-tuned"]'
    small_run(drawn_goods, tuned.folder, *SHORT, methods("fine-tuned", "hie"), note, saved)
    assert (tuned.folder / "metrics.json").read_bytes() == before
    models = tuned.folder / "models"
    assert all(path.stat().st_mtime_ns == was for path, was in stamps.items() if models in path.parents)


@pytest.mark.parametrize(
    ("training", "steps"),
    [
        (FineTuningSettings(), 3 * 100 + 2 * 100),
        (FineTuningSettings(augmentation=Augmentation(), views=4), 3 * 100 + 2 * 100),
        (FineTuningSettings(max_steps=1, batch_size=8), 3 * 100 + 2 * 8),
        (FineTuningSettings(augmentation=Augmentation(), max_steps=1, batch_size=8), 3 * 8 + 2 * 8),
    ],
    ids=["plain", "a view an epoch", "capped where images pass", "capped in both phases"],
)
def test_images_seen_in_training_are_counted(tmp_path, training, steps):
    from aisles.experiments.methods.fine_tuned_networks import _taken

    curves = tmp_path / "router" / "trained" / "curves.csv"
    curves.parent.mkdir(parents=True)
    curves.write_text(
        "epoch,phase\n" + "".join(f"{i},{'frozen' if i < 4 else 'tuned'}\n" for i in range(1, 6))
    )
    trainer = SimpleNamespace(folder=tmp_path, training=training)
    assert _taken(trainer, "router", 100)[:2] == (5, steps)


def test_a_head_on_features_sees_every_image_in_every_epoch(tmp_path):
    from aisles.experiments.methods.fine_tuned_networks import _taken

    (tmp_path / "router").mkdir()
    (tmp_path / "router" / "curves.csv").write_text("epoch,phase\n1,frozen\n2,frozen\n")
    training = FineTuningSettings(augmentation=Augmentation(), max_steps=1, batch_size=8)
    assert _taken(SimpleNamespace(folder=tmp_path, training=training), "router", 100)[:2] == (2, 200)


def test_hard_passes_the_router_and_one_sub_model_if_the_macro_has_one():
    hierarchy = Hierarchy(("A", "B"), (("a", "b"), ("c",)))
    macro = np.array([[[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6]]])
    assert passes_of(parse_rule("hard"), macro, hierarchy, 2) == 1.25
    assert passes_of(parse_rule("soft"), macro, hierarchy, 2) == 2


def test_networks_of_another_protocol_are_refused():
    jobs = ((SimpleNamespace(name="seed-0/flat"),),)
    made = {"data": "d", "features": "f", "training": "t", "seed": 0}
    trainer = SimpleNamespace(made_from=lambda job: made)
    none = np.zeros((1, 1, 2), np.float32)
    flat = MethodResult(none, none, jobs, name="flat")  # type: ignore[arg-type]
    one = MethodResult(
        none, none, name="flat-fine-tuned", protocol={"data": "d", "images": {"tuned_epochs": 6}}
    )
    longer = replace(one, name="fine-tuned", protocol={"data": "d", "images": {"tuned_epochs": 60}})
    foreign = replace(one, protocol={"data": "e", "images": {"tuned_epochs": 6}})
    check_same_protocol(
        trainer, {"flat": flat, "flat-fine-tuned": one, "fine-tuned": replace(one, name="fine-tuned")}
    )
    with pytest.raises(ValueError, match=r"fine-tuned differs in \['images'\]"):
        check_same_protocol(trainer, {"flat": flat, "flat-fine-tuned": one, "fine-tuned": longer})
    with pytest.raises(ValueError, match=r"flat-fine-tuned differs in \['data'\]"):
        check_same_protocol(trainer, {"flat": flat, "flat-fine-tuned": foreign})


def test_a_rule_without_its_flat_model_fails_before_anything_is_trained(tmp_path, drawn_goods, small_run):
    changes = (*SHORT, methods("separate"), 'comparison.primary="implied"', "fine_tuning.tuned_epochs=0")
    result = small_run(drawn_goods, tmp_path / "run", *changes)
    assert "needs a flat model" in result.metrics["failed"]["separate"]
    assert not list((tmp_path / "run" / "models" / "networks").rglob("router-from-imagenet"))
    assert "separate failed: " in " ".join(summary(result).split())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (["fine_tuning.views=2"], "set fine_tuning.augmentation = true as well"),
        (["fine_tuning.frozen_epochs=0", "fine_tuning.tuned_epochs=0"], "there would be no training"),
    ],
)
def test_settings_that_no_training_can_have_are_refused_before_anything_starts(changes, reason):
    with pytest.raises(ValueError, match=reason):
        read_settings(None, changes)


@pytest.mark.parametrize(
    ("change", "matters"),
    [("data.note=x", False), ("fine_tuning.tuned_epochs=9", False), ("training.epochs=9", True)],
)
def test_what_no_method_uses_makes_no_other_run(change, matters):
    assert bool(explained_difference(read_settings(), read_settings(None, [change]))) is matters


def test_settings_of_fine_tuning_matter_where_somebody_is_fine_tuned():
    before = read_settings(None, [methods("fine-tuned")])
    after = read_settings(None, [methods("fine-tuned"), "fine_tuning.tuned_epochs=9"])
    assert explained_difference(before, after) == ["fine_tuning.tuned_epochs: 25 -> 9"]


def test_whose_baseline_failed_is_not_judged_and_no_baseline(tuned):
    environment = json.loads((tuned.folder / "environment.json").read_text())
    metrics = tuned.metrics | {"environment": environment, "measured": {"date": "2026-01-01"}}
    rows = table(metrics | {"comparisons": [c for c in metrics["comparisons"] if c["b"] != "fine-tuned"]})
    assert [line for line in rows.splitlines() if line.startswith("| fine-tuned")][0].count("not judged") == 1
    assert rows.count("| baseline |") == 1
    assert "(against flat-fine-tuned)" in table(metrics)


def test_an_ensemble_averages_the_networks_of_its_seed_and_of_the_next(monkeypatch):
    names = ComparisonSettings(methods=("separate",), seeds=2)
    context = SimpleNamespace(seeds=range(2), settings=SimpleNamespace(comparison=names))
    tuning = FineTuning(context)  # type: ignore[arg-type]
    asked = []

    def answers(self, name, seed):
        asked.append((name, seed))
        table = np.full((1, 2), float(seed))
        return {"probs": table}, {"backbone_passes": 1.0, "parameters": 10.0, "images": 7, "seconds": 2.0}

    costly = SimpleNamespace(cost={"backbone_passes": 2.4})
    monkeypatch.setattr(FineTuning, "_answers", answers)
    monkeypatch.setattr(FineTuning, "method", lambda self, name: costly)
    monkeypatch.setattr(FineTuning, "trainer", lambda self, seed: SimpleNamespace(flat_task=lambda: seed))
    ahead: list[int] = []
    monkeypatch.setattr(fine_tuned_networks, "train_ahead", ahead.extend)
    found = list(tuning._ensembles("flat-fine-tuned-ensemble"))
    assert asked == [("flat-fine-tuned", seed) for seed in range(4)] and ahead == [0, 1, 2, 3]
    assert [tables["probs"][0, 0] for tables, _ in found] == [1.0, 2.0]
    assert found[0][1] == {"backbone_passes": 3.0, "parameters": 30.0, "images": 7, "seconds": 6.0}


@pytest.mark.slow
def test_separate_networks_meet_the_flat_model_with_their_epochs(tmp_path, drawn_goods, small_run):
    names = methods("separate", "separate-from-flat")
    result = small_run(drawn_goods, tmp_path / "run", *SHORT, names)
    assert not result.metrics["failed"]
    baselines = {comparison["b"]: comparison["a"] for comparison in result.metrics["comparisons"]}
    assert baselines["separate"] == "flat-fine-tuned"
    assert baselines["separate-from-flat"] == "flat-fine-tuned-again"
    assert baselines["flat-fine-tuned-ensemble"] == "separate"
    costs = {name: metrics["cost"] for name, metrics in result.metrics["methods"].items()}
    passes = costs["separate"]["backbone_passes"]
    assert costs["flat-fine-tuned-ensemble"]["backbone_passes"] == passes == costs["separate"]["heads"] > 1
    assert costs["flat-fine-tuned-ensemble"]["parameters"] == passes * costs["flat-fine-tuned"]["parameters"]
    assert costs["flat-fine-tuned-ensemble"]["images"] == costs["flat-fine-tuned"]["images"]
