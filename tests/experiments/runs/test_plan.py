"""The plan of a comparison: what it holds, and that a change after a run had begun is told."""

import json

from aisles.experiments.runs.plan import in_words, read_plan, write_plan
from aisles.experiments.settings.benchmark import ComparisonSettings

SETTINGS = ComparisonSettings(methods=("flat", "soft"), seeds=2)


def test_a_plan_names_what_decides_a_verdict(tmp_path):
    plan = write_plan(tmp_path, SETTINGS, "tests", "all")
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


def test_the_same_plan_again_stays_pre_specified(tmp_path):
    first = write_plan(tmp_path, SETTINGS, "tests", "all")
    assert write_plan(tmp_path, SETTINGS, "tests", "all") == first


def test_plans_changed_after_a_run_had_begun_are_kept_and_told(tmp_path):
    first = write_plan(tmp_path, SETTINGS, "tests", "all")
    write_plan(tmp_path, SETTINGS.model_copy(update={"primary": "hard"}), "tests", "all")
    last = write_plan(tmp_path, SETTINGS.model_copy(update={"margin": 0.02}), "tests", "other splits")
    assert [plan["sha256"] for plan in last["earlier"]][0] == first["sha256"] and len(last["earlier"]) == 2
    said = in_words(last)
    assert said.startswith("Not pre-specified: the plan was changed 2 times after a run had begun")
    assert all(key in said for key in ("primary", "margin", "images")) and "alpha" not in said


def test_a_plan_that_can_not_be_read_is_none(tmp_path):
    (tmp_path / "plan.json").write_text("{", encoding="utf-8")
    assert read_plan(tmp_path) is None
