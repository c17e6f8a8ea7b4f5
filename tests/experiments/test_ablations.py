"""Studies that differ in one thing."""

import pandas as pd
import pytest

from aisles.experiments.ablations import ABLATIONS, changed, run_ablation
from aisles.experiments.config import StudySettings, read_settings


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_value_of_an_ablation_makes_valid_settings(name):
    ablation, settings = ABLATIONS[name], StudySettings()
    found = [changed(settings, ablation.variant(value)) for value in ablation.values]
    assert len({other.model_dump_json() for other in found}) == len(found)


def test_an_unknown_ablation_or_value_is_refused(tmp_path):
    with pytest.raises(ValueError, match="one of backbone"):
        run_ablation("colour", tmp_path, tmp_path / "out")
    with pytest.raises(ValueError, match="by product or by image"):
        run_ablation("split", tmp_path, tmp_path / "out", values=["day"])


@pytest.mark.keras
def test_variants_stand_side_by_side_and_a_failing_one_with_its_reason(tmp_path, drawn_goods, small_study):
    small = (
        "hierarchy.macros=3",
        "training.epochs=2",
        "comparison.seeds=2",
        'comparison.contestants=["flat", "soft"]',
    )
    settings = read_settings(None, [*small, "training.learning_rate=0.01", "hierarchy.bootstraps=2"])
    backbone = small_study.backbone
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
def test_splitting_by_image_lets_products_leak(tmp_path, drawn_goods, small_study):
    settings = read_settings(None, ["hierarchy.macros=3", "training.epochs=2", "comparison.seeds=1"])
    table = run_ablation(
        "split",
        drawn_goods,
        tmp_path / "out",
        settings,
        cache=tmp_path / "cache",
        backbone=small_study.backbone,
        jobs=1,
    )
    assert list(table["variant"]) == ["product", "image"] and not table["same_test_images"][1]
    crossing = []
    for variant in ("product", "image"):
        manifest = pd.read_csv(tmp_path / "out" / variant / "manifest.csv")
        crossing.append(int((manifest.groupby("product")["split"].nunique() > 1).sum()))
    assert crossing[0] == 0 and crossing[1] > 5
