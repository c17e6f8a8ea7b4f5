"""The plan of a comparison: what it holds, and that a change after a run had begun is told."""

import json

from aisles.experiments.runs.plan import in_words, read_plan, write_plan
from aisles.experiments.settings.benchmark import BenchmarkSettings

SETTINGS = BenchmarkSettings.model_validate({"comparison": {"methods": ("flat", "soft"), "seeds": 2}})


def other(**sections):
    """Return the settings with some changed."""
    return BenchmarkSettings.model_validate(
        {
            name: values | sections.get(name, {})
            for name, values in SETTINGS.model_dump(exclude={"backbone", "data"}).items()
        }
    )


def test_a_plan_names_what_decides_a_verdict(tmp_path):
    plan = write_plan(tmp_path, SETTINGS, "tests", "all", "lite0")
    assert json.loads((tmp_path / "plan.json").read_text(encoding="utf-8")) == plan == read_plan(tmp_path)
    assert {key: plan[key] for key in ("primary", "baseline", "margin", "alpha", "seeds", "methods")} == {
        "primary": "soft", "baseline": "flat", "margin": 0.01, "alpha": 0.05, "seeds": 2, "methods": ["flat", "soft"],
    }  # fmt: skip
    assert (plan["test_images"], plan["images"], plan["earlier"]) == ("tests", "all", [])
    said = in_words(plan)
    assert said.startswith(
        "Pre-specified: soft against flat, and against the flat method that validation images"
    )
    assert ", margin 1 point, alpha 0.05, 2 seeds and the methods were written to plan.json before" in said


def test_a_plan_with_one_seed_speaks_of_one_seed(tmp_path):
    said = in_words(write_plan(tmp_path, other(comparison={"seeds": 1}), "tests", "all", "lite0"))
    assert "alpha 0.05, 1 seed and the methods were written" in said


def test_the_same_plan_again_stays_pre_specified(tmp_path):
    first = write_plan(tmp_path, SETTINGS, "tests", "all", "lite0")
    assert write_plan(tmp_path, SETTINGS, "tests", "all", "lite0") == first


def test_plans_changed_after_a_run_had_begun_are_kept_and_told(tmp_path):
    first = write_plan(tmp_path, SETTINGS, "tests", "all", "lite0")
    (tmp_path / "models").mkdir()
    write_plan(tmp_path, other(comparison={"primary": "hard"}), "tests", "all", "lite0")
    last = write_plan(tmp_path, other(comparison={"margin": 0.02}), "tests", "other splits", "lite0")
    assert [plan["sha256"] for plan in last["earlier"]][0] == first["sha256"] and len(last["earlier"]) == 2
    said = in_words(last)
    assert said.startswith("Not pre-specified: the plan was changed 2 times after a run had begun")
    assert all(key in said for key in ("primary", "margin", "images")) and "alpha" not in said


def test_other_macros_rates_and_networks_are_another_plan(tmp_path):
    write_plan(tmp_path, SETTINGS, "tests", "all", "lite0")
    (tmp_path / "models").mkdir()
    changed = other(hierarchy={"macros": 4}, training={"learning_rate": 0.003})
    said = in_words(write_plan(tmp_path, changed, "tests", "all", "lite2"))
    assert "(backbone, hierarchy.macros, training.learning_rate); plan.json keeps" in said


def test_other_macros_in_the_same_file_are_another_plan(tmp_path):
    file = tmp_path / "macros.json"
    file.write_text("{}", encoding="utf-8")
    settings = other(hierarchy={"file": str(file)})
    write_plan(tmp_path, settings, "tests", "all", "lite0")
    (tmp_path / "models").mkdir()
    file.write_text("{ }", encoding="utf-8")
    assert "(hierarchy.file)" in in_words(write_plan(tmp_path, settings, "tests", "all", "lite0"))


def test_a_plan_changed_before_anything_was_trained_is_the_first(tmp_path):
    write_plan(tmp_path, SETTINGS, "tests", "all", "lite0")
    assert in_words(write_plan(tmp_path, other(comparison={"seeds": 3}), "tests", "all", "lite0")).startswith(
        "Pre-spec"
    )


def test_a_plan_that_can_not_be_read_is_none(tmp_path):
    (tmp_path / "plan.json").write_text("{", encoding="utf-8")
    assert read_plan(tmp_path) is None
