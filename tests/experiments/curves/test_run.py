import json

import numpy as np
import pytest
from click.testing import CliRunner

from aisles.cli.main import main
from aisles.experiments.curves.judging import Point, judge_curve
from aisles.experiments.curves.page import difference_plot, difference_table
from aisles.experiments.curves.points import Answers, Draw
from aisles.experiments.curves.run import run_curve
from aisles.experiments.settings.benchmark import BenchmarkSettings
from aisles.experiments.stats.verdict import compare

pytestmark = pytest.mark.keras


def few_labels_world(path, seed=0, n_macros=4, each=3, n_test=12):
    """Write features in which macros lie far apart and classes of a macro close together."""
    rng = np.random.default_rng(seed)
    n_train, n_val, dimension = 24, 6, 24
    centers = np.repeat(3.0 * rng.normal(size=(n_macros, dimension)), each, axis=0)
    centers += 0.8 * rng.normal(size=centers.shape)
    label = np.repeat([f"C{i:02d}" for i in range(len(centers))], n_train + n_val + n_test)
    aisle = np.repeat([f"M{i // each}" for i in range(len(centers))], n_train + n_val + n_test)
    features = np.repeat(centers, n_train + n_val + n_test, axis=0) + rng.normal(size=(len(label), dimension))
    split = np.tile(["train"] * n_train + ["val"] * n_val + ["test"] * n_test, len(centers))
    np.savez(path, features=features, label=label, aisle=aisle, split=split)
    return path


@pytest.fixture(scope="module")
def curve(tmp_path_factory):
    folder = tmp_path_factory.mktemp("curve")
    settings = BenchmarkSettings.model_validate({"hierarchy": {"column": "aisle"}})
    given = few_labels_world(folder / "given.npz")
    return (
        given,
        folder / "run",
        settings,
        run_curve(given, folder / "run", "1,4,all", settings, draws=2, jobs=1),
    )


def test_a_curve_has_every_method_at_every_value_on_the_same_test_images(curve):
    facts = curve[3].facts
    assert [row["value"] for row in facts["points"]] == [1, 4, "all"]
    assert [row["n_draws"] for row in facts["points"]] == [2, 2, 1]  # nothing is drawn at all labels
    assert {row["n_test"] for row in facts["points"]} == {144}
    assert facts["primary"] == "coarse:soft"
    for row in facts["points"][:2]:
        assert not row["failed"]
        assert {"flat-lda", "flat-coarse-lda", "soft:lda", "coarse:soft"} <= set(row["methods"])
        assert row["best_flat_fine"] in ("flat-lda", "flat-logistic", "flat-knn")


def test_accuracy_grows_with_labels_and_coarse_labels_help_where_fine_ones_are_few(curve):
    table = curve[3].table
    assert table["flat-lda"][1] < table["flat-lda"]["all"]
    row = curve[3].facts["points"][0]["methods"]
    assert row["coarse:soft"]["against_fine"]["difference"] > 0
    assert row["flat-coarse-lda"]["against_fine"]["difference"] > 0


def test_with_all_labels_there_are_no_images_known_by_their_macro_alone(curve):
    row = curve[3].facts["points"][-1]
    assert "coarse:soft" not in row["methods"] and "need images with a macro" in row["failed"]["coarse:soft"]


def test_a_curve_goes_on_where_it_stopped_and_gives_the_same(curve, tmp_path):
    given, run, settings, result = curve
    before = (run / "curve.json").read_bytes()
    stamp = (run / "points" / "labels-1" / "draw-0" / "step.json").stat().st_mtime_ns
    for name in ("labels-4/draw-1/step.json", "labels-all/draw-0/correct.npz"):
        (run / "points" / name).unlink()
    run_curve(given, run, "1,4,all", settings, draws=2, jobs=1)
    assert (run / "curve.json").read_bytes() == before
    assert (run / "points" / "labels-1" / "draw-0" / "step.json").stat().st_mtime_ns == stamp


def test_the_page_shows_both_plots_the_table_and_the_protocol(curve):
    page = (curve[1] / "curve.html").read_text(encoding="utf-8")
    assert curve[3].sentence in page.replace("&#x27;", "'")
    assert page.count("<svg") == 3 and "at most k validation images" in page
    assert (curve[1] / "tables" / "curve-difference.csv").is_file()


def test_the_command_line_prints_the_table_and_each_sentence(curve, tmp_path):
    line = [
        "benchmark",
        str(curve[0]),
        "-o",
        str(tmp_path / "run"),
        "--curve",
        "macros=learned,random",
        "--draws",
        "1",
    ]
    shown = CliRunner().invoke(main, [*line, "--set", 'comparison.methods=["flat-lda"]'])
    assert shown.exit_code == 0, shown.output
    assert "learned" in shown.output and "soft:lda" in shown.output
    facts = json.loads((tmp_path / "run" / "curve.json").read_text(encoding="utf-8"))
    assert facts["axis"] == "macros" and facts["primary"] == "soft:lda"


def draw(rng, shift, n=600):
    """Draw answers of a flat method right at .5 and of a two-stage one right `shift` more often, paired."""
    both, p = rng.random(n), 0.5 + shift
    two_stage = np.where(rng.random(n) < 0.6, both < p, rng.random(n) < p)
    return Draw(
        {
            "flat-lda": Answers(both < 0.5, 0.5, 1.0, "flat", False),
            "soft:lda": Answers(two_stage, 0.5, 1.0, "two-stage", False),
        },
        {},
        np.arange(n).astype(str),
        np.arange(n).astype(str),
    )  # fmt: skip


def test_nothing_is_shown_from_the_value_on_at_which_the_planted_advantage_ends():
    rng = np.random.default_rng(0)
    shifts = {1: 0.25, 2: 0.2, 5: 0.15, 10: 0.0, 20: 0.0}
    points = [Point(value, [draw(rng, shift) for _ in range(5)]) for value, shift in shifts.items()]
    end = judge_curve(points, "soft:lda")["ends"]["soft:lda"]
    assert end["better"] == [1, 2, 5] and end["nothing_from"] == 10
    assert end["sentence"].startswith("soft:lda is better than the best flat method at 1: +")
    assert "from 10 on no advantage is shown" in end["sentence"]


def test_the_best_flat_method_is_the_one_that_validation_images_prefer_among_equal_labels():
    n = np.ones(8, dtype=bool)
    answers = {
        "a": Answers(n, 0.6, 1.0, "flat", False),
        "b": Answers(~n, 0.6, 0.9, "flat", False),
        "c": Answers(n, 0.9, 0.5, "flat", True),
    }
    point = Point(1, [Draw(answers, {}, np.arange(8).astype(str), np.arange(8).astype(str))])
    assert point.best_flat(coarse=False) == "b" and point.best_flat(coarse=True) == "c"


def test_draws_of_different_test_images_are_put_side_by_side():
    rng = np.random.default_rng(0)
    draws = [draw(rng, 0.0, n=20), draw(rng, 0.0, n=30)]
    point = Point(5, draws)
    assert point.correct("soft:lda").shape == (1, 50) and len(point.products) == 50


def three_methods(rng, shift_lda, n=600):
    """Draw a two-stage method 10 points over flat-knn, validation's choice, and `shift_lda` over flat-lda."""
    found = draw(rng, 0.1, n)
    two_stage, knn = found.answers["soft:lda"], found.answers["flat-lda"]
    lda = two_stage.correct & (rng.random(n) >= shift_lda / 0.6)
    lda |= ~two_stage.correct & (rng.random(n) < 0.01)
    answers = {
        "flat-knn": Answers(knn.correct, 0.9, 0.1, "flat", False),
        "flat-lda": Answers(lda, 0.5, 1.0, "flat", False),
        "soft:lda": two_stage,
    }
    return Draw(answers, {}, found.test, found.products)


def test_a_method_that_equals_a_flat_one_is_not_better_though_validation_prefers_a_weaker():
    rng = np.random.default_rng(0)
    points = [
        Point(1, [three_methods(rng, 0.1) for _ in range(5)]),
        Point(2, [three_methods(rng, 0.0) for _ in range(5)]),
    ]
    facts = judge_curve(points, "soft:lda")
    clear, held = (row["methods"]["soft:lda"]["comparison"] for row in facts["points"])
    assert clear["verdict"] == "better" and "unbeaten" not in clear
    assert held["a"] == "flat-knn" and held["verdict"] == "better than some"
    assert held["unbeaten"] == ["flat-lda"] and held["p_corrected"] < 0.05 < held["p_every"]
    end = facts["ends"]["soft:lda"]
    assert end["better"] == [1] and end["nothing_from"] == 2
    assert "not than every flat method, at 2: +" in end["sentence"]
    assert "against flat-knn, not shown over flat-lda" in end["sentence"]
    table = difference_table({**facts, "description": "labels"})
    assert [row[-1] for row in table.rows] == ["better", "better than some (not flat-lda)"]
    drawn = difference_plot(facts["points"], "soft:lda", "comparison", "labels").file()
    dots = [tag for tag in drawn.split("<") if tag.startswith("circle")]
    assert ["two" in dot for dot in dots] == [True, False]


def test_the_claim_over_every_flat_method_is_corrected_over_the_points_by_its_largest_p_value():
    rng = np.random.default_rng(3)
    points = [Point(value, [three_methods(rng, 0.1) for _ in range(4)]) for value in (1, 2, 5)]
    found = [row["methods"]["soft:lda"]["comparison"] for row in judge_curve(points, "soft:lda")["points"]]
    for point, one in zip(points, found, strict=True):
        each = [
            compare(point.correct(flat), point.correct("soft:lda"), n_resamples=2000).p_value
            for flat in ("flat-knn", "flat-lda")
        ]
        assert one["p_every"] == pytest.approx(max(each))


def test_methods_on_coarse_labels_are_told_against_the_same_labels_first_and_then_against_fine_ones_alone():
    rng = np.random.default_rng(1)
    draws = []
    for _ in range(5):
        found = draw(rng, 0.2)
        fine, two = found.answers["flat-lda"], found.answers["soft:lda"].correct
        answers = {
            "flat-lda": fine,
            "flat-coarse-lda": Answers(two, 0.7, 0.5, "flat", True),
            "coarse:soft": Answers(two & (rng.random(600) < 0.95), 0.7, 0.5, "two-stage", True),
            "soft:lda": Answers(fine.correct, 0.5, 1.0, "two-stage", False),
        }
        draws.append(Draw(answers, {}, found.test, found.products))
    facts = judge_curve([Point(1, draws)], "coarse:soft")
    assert facts["ends"]["coarse:soft"]["sentence"].startswith(
        "coarse:soft is worse than the best flat method on the same labels at 1: -"
    )
    assert facts["ends_against_fine"]["coarse:soft"]["sentence"].startswith(
        "coarse:soft is better than the best flat method on fine labels alone at 1: +"
    )
    assert "shown over the best flat method on fine labels alone" in facts["ends"]["soft:lda"]["sentence"]
