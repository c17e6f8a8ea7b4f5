"""Studies that differ in one thing."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aisles.data_prep.images.manifest import Manifest
from aisles.data_prep.io.errors import DataError
from aisles.experiments.ablations.settings_ablations import (
    ABLATIONS,
    changed,
    judged_together,
    run_ablation,
    said_of_verdicts,
)
from aisles.experiments.benchmark.preparation import similar_enough
from aisles.experiments.settings.benchmark import BenchmarkSettings
from aisles.experiments.settings.reading import read_settings


def goods(n_images: int = 40, **columns) -> Manifest:
    table = pd.DataFrame(
        {
            "file_name": [f"{i}.png" for i in range(n_images)],
            "label": [f"class {i % 20:02d}" for i in range(n_images)],
            "product": [f"product {i // 2}" for i in range(n_images)],
            "split": "",
            "source": ["main", "other"] * (n_images // 2),
            "similarity": [np.nan if i % 2 == 0 else i / n_images for i in range(n_images)],
        }
    )
    return Manifest(table.assign(**columns), Path())


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_value_of_an_ablation_makes_settings_of_its_own(name):
    ablation, settings = ABLATIONS[name], BenchmarkSettings()
    found = [changed(settings, ablation.variant(value)) for value in ablation.values(goods())]
    assert len({other.model_dump_json() for other in found}) == len(found) > 1


def test_an_unknown_ablation_or_value_is_refused(tmp_path):
    with pytest.raises(ValueError, match="one of backbone"):
        run_ablation("colour", tmp_path, tmp_path / "out")
    for name, value, told in (
        ("split", "day", "by product or by image"),
        ("macros", "a", "whole number or auto. Received: 'a'"),
        ("macros", "1", "'1' can't be tried. hierarchy.macros: there must be at least 2"),
        ("similarity-threshold", "much", "is a number. Received: 'much'"),
        ("backbone", "resnet", "'resnet' can't be tried. backbone.name"),
    ):
        with pytest.raises(ValueError, match=told):
            run_ablation(name, tmp_path, tmp_path / "out", values=[value])


def test_a_variant_changes_one_thing():
    other = changed(BenchmarkSettings(), ABLATIONS["color"].variant("gray"))
    assert other.backbone.color == "gray"
    assert other == read_settings(None, {"backbone.color": "gray"})


def test_no_more_macros_are_tried_than_classes_allow():
    manifest = goods()
    assert ABLATIONS["macros"].values(manifest) == tuple(str(k) for k in range(2, 13))
    five = manifest.keep(manifest.table["label"] < "class 05")
    assert ABLATIONS["macros"].values(five) == ("2", "3", "4")


def test_thresholds_keep_fewer_and_fewer_of_the_secondary_training_images():
    rng = np.random.default_rng(0)
    similarity = np.where(np.arange(400) % 2, rng.uniform(0.5, 0.9, 400), np.nan)
    manifest = goods(400, similarity=similarity, split=["train", "train", "train", "test"] * 100)
    secondary = ((manifest.splits == "train") & (manifest.table["source"] == "other")).to_numpy()
    kept = [
        similar_enough(manifest, float(value))[secondary].mean()
        for value in ABLATIONS["similarity-threshold"].values(manifest)
    ]
    assert kept[0] == 1 and kept[-1] == 0
    assert kept == pytest.approx([1, 0.75, 0.5, 0.25, 0], abs=0.02)


@pytest.mark.parametrize(
    "columns", [{"similarity": np.nan}, {"similarity": 0.7}, {"source": "main"}, {"split": "test"}],
    ids=["none known", "all alike", "no secondary ones", "none to train on"],
)  # fmt: skip
def test_without_similarities_there_is_no_threshold_to_try(columns):
    with pytest.raises(DataError, match="`source` and `similarity`.*aisles data curate"):
        ABLATIONS["similarity-threshold"].values(goods(**columns))


def test_where_every_image_is_its_own_product_nothing_leaks(image_folder, tmp_path):
    with pytest.raises(DataError, match="Each of the 72 images is a product of its own.*nothing can leak"):
        run_ablation("split", image_folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.keras
def test_variants_stand_side_by_side_and_a_failing_one_with_its_reason(tmp_path, drawn_goods, small_run):
    small = (
        "hierarchy.macros=3",
        "training.epochs=2",
        "comparison.seeds=2",
        'comparison.methods=["flat", "soft"]',
    )
    settings = read_settings(None, [*small, "training.learning_rate=0.01", "hierarchy.bootstraps=2"])
    backbone = small_run.backbone
    table = run_ablation(
        "macros", drawn_goods, tmp_path / "out", settings, values=["2", "3", "99"], cache=tmp_path / "cache",
        backbone=backbone, jobs=1,
    )  # fmt: skip
    assert list(table["variant"]) == ["2", "3", "99"]
    assert table["failed"].notna().tolist() == [False, False, True]
    assert table["flat_change"][1] == 0 and table["same_test_images"][1]
    assert table["change"][1] == pytest.approx(table["soft"][1] - table["soft"][0])
    pd.testing.assert_frame_equal(
        table, pd.read_csv(tmp_path / "out" / "ablation.csv", dtype={"variant": str}), check_dtype=False
    )


@pytest.mark.keras
def test_splitting_by_image_lets_products_leak(tmp_path, drawn_goods, small_run):
    settings = read_settings(None, ["hierarchy.macros=3", "training.epochs=2", "comparison.seeds=1"])
    table = run_ablation(
        "split",
        drawn_goods,
        tmp_path / "out",
        settings,
        cache=tmp_path / "cache",
        backbone=small_run.backbone,
        jobs=1,
    )
    assert list(table["variant"]) == ["product", "image"] and not table["same_test_images"][1]
    crossing = []
    for variant in ("product", "image"):
        manifest = pd.read_csv(tmp_path / "out" / variant / "manifest.csv")
        crossing.append(int((manifest.groupby("product")["split"].nunique() > 1).sum()))
    assert crossing[0] == 0 and crossing[1] > 5


@pytest.mark.slow
@pytest.mark.keras
def test_fewer_training_images_are_judged_on_the_same_test_images(tmp_path, drawn_goods, small_run):
    table = pd.read_csv(drawn_goods / "metadata.csv")
    second = table["file_name"].str.endswith("-1.png")
    table["source"] = np.where(second, "other", "main")
    table["similarity"] = np.where(second, np.linspace(0.3, 0.9, len(table)), np.nan)
    table["file_name"] = [str(drawn_goods / name) for name in table["file_name"]]
    table.to_csv(tmp_path / "metadata.csv", index=False)
    settings = read_settings(None, ["hierarchy.macros=3", "training.epochs=2", "comparison.seeds=1"])
    found = run_ablation(
        "similarity-threshold", tmp_path, tmp_path / "out", settings, cache=tmp_path / "cache",
        backbone=small_run.backbone, jobs=1,
    )  # fmt: skip
    assert found["same_test_images"].tolist() == [True] * 5
    trained_on = [
        (pd.read_csv(tmp_path / "out" / name / "manifest.csv")["split"] == "train").sum()
        for name in found["variant"]
    ]
    assert trained_on == sorted(set(trained_on), reverse=True)


def row(variant, difference, half, p_value, equivalence_p=1.0):
    low, high = difference - half, difference + half
    facts = {"difference": difference, "low": low, "high": high, "flat_sd": None, "verdict": "?"}
    return facts | {"variant": variant, "p_value": p_value, "equivalence_p": equivalence_p}


def test_variants_are_one_family_that_holm_corrects():
    rows = [
        row("2", 0.04, 0.03, 0.012), row("3", 0.05, 0.02, 0.001), row("4", 0.0, 0.03, 0.9),
        {"variant": "5", "failed": "x"}, row("6", -0.04, 0.03, 0.02), row("7", 0.0, 0.001, 0.8, 0.004),
    ]  # fmt: skip
    found = judged_together(rows, 0.05)
    by_hand = {"2": 4 * 0.012, "3": 5 * 0.001, "4": 1.0, "6": 3 * 0.02, "7": 1.0}
    assert {r["variant"]: r["p_corrected"] for r in found if "verdict" in r} == pytest.approx(by_hand)
    verdicts = {r["variant"]: r.get("verdict") for r in found}
    assert verdicts == {
        "2": "better", "3": "better", "4": "no difference shown", "5": None, "6": "no difference shown",
        "7": "equivalent",
    }  # fmt: skip
    said = said_of_verdicts(pd.DataFrame(found))
    assert said.startswith("Verdicts of the 5 variants are one family, corrected by Holm")
    assert "trained once" in said


def test_where_nothing_could_be_judged_nothing_is_claimed():
    assert said_of_verdicts(pd.DataFrame([{"variant": "2", "failed": "x"}])) == "No variant could be judged."


def test_a_variant_with_nothing_to_route_stays_without_verdict_and_outside_the_family():
    known = {"low": 0.01, "high": 0.03, "equivalence_p": 0.9, "verdict": "better", "flat_sd": 0.01}
    rows = [{"variant": "4", "p_value": 0.04, **known}, {"variant": "8", "p_value": 0.5, **known}]
    rows[1]["verdict"] = "not judged"
    found = judged_together(rows, 0.05)
    assert [row["verdict"] for row in found] == ["better", "not judged"]
    assert found[0]["p_corrected"] == 0.04 and "equivalence_p" not in found[1]
    said = said_of_verdicts(pd.DataFrame(found))
    assert said.startswith("One variant was judged; low and high bound") and "flat alone" in said
