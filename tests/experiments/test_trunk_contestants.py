"""Fine-tuned networks in a study: judged against the flat model that was fine-tuned alike."""

import json

import numpy as np
import pytest

from aisles.experiments.config import ComparisonSettings
from aisles.experiments.statistics import compare
from aisles.experiments.tables import summary

pytestmark = pytest.mark.keras
SHORT = (
    "comparison.seeds=1", "training.epochs=2", "images.frozen_epochs=4", "images.tuned_epochs=1",
    "images.frozen_rate=0.01", "images.batch_size=16",
)  # fmt: skip


def contestants(*names):
    return f"comparison.contestants={json.dumps(names)}"


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, drawn_goods, small_study):
    folder = tmp_path_factory.mktemp("tuned") / "run"
    note = 'data.note="Drawn pictures."'
    return small_study(drawn_goods, folder, *SHORT, contestants("trunk:tuned", "hie"), note)


def archive(folder, name):
    with np.load(folder / "probabilities" / f"{name}.npz", allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.mark.parametrize(
    ("asked", "rivals"),
    [
        ("trunk:tuned", ["flat-tuned"]),
        ("trunk:separate", ["flat-tuned"]),
        ("trunk:separate-from-flat", ["flat-tuned", "flat-tuned-again"]),
        ("flat-tuned-again", ["flat-tuned"]),
    ],
)
def test_whoever_is_fine_tuned_brings_the_rivals_along(asked, rivals):
    everyone = ComparisonSettings(contestants=(asked, "hie")).everyone
    assert sorted(everyone) == sorted({"flat", "soft", "hie", asked, *rivals})
    assert [name for name in everyone if name in rivals] == rivals


def test_an_unknown_trunk_is_refused_with_those_that_there_are():
    with pytest.raises(ValueError, match=r"'trunk:shared' is no contestant.*trunk:separate-from-flat"):
        ComparisonSettings(contestants=("trunk:shared",))


def test_a_tuned_trunk_is_judged_against_the_flat_model_fine_tuned_alike(tuned):
    assert not tuned.metrics["failed"]
    found = {comparison["b"]: comparison for comparison in tuned.metrics["comparisons"]}
    assert {name: found[name]["a"] for name in ("soft", "hie", "flat-tuned", "trunk:tuned")} == {
        "soft": "flat", "hie": "flat", "flat-tuned": "flat", "trunk:tuned": "flat-tuned",
    }  # fmt: skip
    flat, two = archive(tuned.folder, "flat-tuned"), archive(tuned.folder, "trunk-tuned")
    right = [each["probs"].argmax(2) == each["truth"] for each in (flat, two)]
    again = compare(*right, names=("flat-tuned", "trunk:tuned"))
    assert found["trunk:tuned"]["difference"] == pytest.approx(again.difference)
    assert "(against flat-tuned)" in summary(tuned)


def test_its_probabilities_are_soft_routing_of_its_own_stages(tuned):
    found = archive(tuned.folder, "trunk-tuned")
    macro = found["macro_probs"][:, :, found["macro_of"]]
    np.testing.assert_allclose(found["probs"], macro * found["inside"], atol=1e-6)
    np.testing.assert_allclose(found["val_probs"].sum(2), 1, atol=1e-5)


def test_its_budget_counts_the_fine_tuning_that_it_rests_on(tuned):
    figures = tuned.metrics["contestants"]
    flat, two = figures["flat-tuned"]["cost"], figures["trunk:tuned"]["cost"]
    n = tuned.metrics["data"]["images"]["train"]
    assert flat["image_steps"] == flat["epochs"] * n and flat["backbone_passes"] == 1
    assert two["epochs"] > flat["epochs"] and two["image_steps"] > flat["image_steps"]
    assert two["backbone_passes"] == 1 and two["heads"] == 1 + sum(
        len(members) > 1 for members in tuned.metrics["macros"].values()
    )


def test_the_report_names_the_rival_and_repeats_the_note(tuned):
    page = (tuned.folder / "report.html").read_text()
    assert "trunk:tuned against flat-tuned" in page and "(against flat-tuned)" in page
    verdict, _, rest = page.partition("Drawn pictures.")
    assert tuned.metrics["verdict"].partition(":")[0] in verdict and "<svg" in rest and "<svg" not in verdict


def test_run_again_it_trains_nothing_and_finds_the_same(tuned, drawn_goods, small_study):
    before = (tuned.folder / "metrics.json").read_bytes()
    stamps = {path: path.stat().st_mtime_ns for path in tuned.folder.rglob("*.keras")}
    note = 'data.note="Drawn pictures."'
    small_study(drawn_goods, tuned.folder, *SHORT, contestants("trunk:tuned", "hie"), note)
    assert (tuned.folder / "metrics.json").read_bytes() == before
    models = tuned.folder / "models"
    assert all(path.stat().st_mtime_ns == was for path, was in stamps.items() if models in path.parents)


@pytest.mark.slow
def test_separate_networks_meet_the_flat_model_with_their_epochs(tmp_path, drawn_goods, small_study):
    names = contestants("trunk:separate", "trunk:separate-from-flat")
    result = small_study(drawn_goods, tmp_path / "run", *SHORT, names)
    assert not result.metrics["failed"]
    rivals = {comparison["b"]: comparison["a"] for comparison in result.metrics["comparisons"]}
    assert rivals["trunk:separate"] == "flat-tuned"
    assert rivals["trunk:separate-from-flat"] == "flat-tuned-again"
    cost = result.metrics["contestants"]["trunk:separate"]["cost"]
    assert cost["backbone_passes"] == cost["heads"] > 1
