"""Answers at every level, worked out by hand, and what the slider guarantees."""

import numpy as np
import pytest

from aisles.demo.judging import Stages, answers, distributions, plain_hierarchy
from aisles.demo.levels import Levels
from aisles.hierarchy.guarantees import ClimbGuarantee, climb_guarantee
from aisles.hierarchy.hierarchy import Hierarchy

GOODS = Hierarchy(("SEAT", "LIGHT"), (("CHAIR", "SOFA"), ("LAMP",)))
# SEAT .9, inside it CHAIR .2 and SOFA .8: SOFA .72, CHAIR .18, LAMP .1
STAGES = Stages(
    np.array([[0.9, 0.1]]), np.array([[0.2, 0.8, 1.0]]), np.array([[0.3, 0.5, 0.2]])
)  # flat: CHAIR .3, LAMP .5, SOFA .2


def answer_at(threshold: float, rule: str = "soft"):
    probs, macro = distributions(STAGES, GOODS, rule)
    return answers(probs, macro, GOODS, threshold)[0]


def test_soft_multiplies_router_and_sub_model():
    probs, macro = distributions(STAGES, GOODS, "soft")
    assert GOODS.classes == ("CHAIR", "LAMP", "SOFA")
    np.testing.assert_allclose(probs, [[0.18, 0.1, 0.72]])
    np.testing.assert_allclose(macro, [[0.9, 0.1]])


def test_flat_answers_by_itself_and_its_macros_are_sums():
    probs, macro = distributions(STAGES, GOODS, "flat")
    np.testing.assert_allclose(probs, [[0.3, 0.5, 0.2]])
    np.testing.assert_allclose(macro, [[0.5, 0.5]])


def test_the_answer_moves_up_the_tree_as_more_is_guaranteed():
    assert [answer_at(t).level for t in (0.5, 0.72, 0.73, 0.9, 0.91)] == [
        "class",
        "class",
        "macro",
        "macro",
        "none",
    ]


def test_the_most_probable_class_and_its_macro_are_told_at_every_level():
    for threshold in (0.5, 0.8, 0.95):
        answer = answer_at(threshold)
        assert (answer.label, answer.macro) == ("SOFA", "SEAT")
        assert (answer.probability, answer.macro_probability) == pytest.approx((0.72, 0.9))


def test_a_rule_without_its_model_is_refused():
    with pytest.raises(ValueError, match="flat_probs"):
        distributions(Stages(STAGES.router, STAGES.within, None), GOODS, "implied")
    with pytest.raises(ValueError, match="no flat model"):
        distributions(Stages(STAGES.router, STAGES.within, None), GOODS, "flat")


def test_without_a_hierarchy_each_class_is_its_own_macro():
    alone = plain_hierarchy(["a", "b"])
    probs, macro = distributions(Stages(None, None, np.array([[0.6, 0.4]])), alone, "flat")
    answer = answers(probs, macro, alone, 0.5)[0]
    assert (answer.level, answer.label, answer.macro) == ("class", "a", "a")
    assert answers(probs, macro, alone, 0.7)[0].level == "none"


def calibration(n: int, right: float, seed: int = 0) -> tuple[Stages, np.ndarray]:
    """Draw images whose most probable class is right with that chance, surer where it is right."""
    rng = np.random.default_rng(seed)
    router = rng.dirichlet((3, 1), n)
    within = np.hstack([rng.dirichlet((1, 1), n), np.ones((n, 1))])
    stages = Stages(router, within, None)
    best = distributions(stages, GOODS, "soft")[0].argmax(1)
    truth = np.where(rng.random(n) < right, best, (best + 1) % 3)
    return stages, truth


def test_a_guarantee_is_the_guarantee_of_the_calibration_images():
    stages, truth = calibration(500, 0.97)
    guarantee = Levels(GOODS, stages, truth).at(0.9, "soft")
    found = climb_guarantee(*distributions(stages, GOODS, "soft"), GOODS, truth, 0.9, 0.1)
    assert guarantee.kind == "checked"
    assert (guarantee.threshold, guarantee.n_given, guarantee.n_right) == (
        found.threshold,
        found.n_given,
        found.n_right,
    )
    assert guarantee.n_right / guarantee.n_given >= 0.9


def test_each_rule_has_a_guarantee_of_its_own():
    stages, truth = calibration(500, 0.9)
    levels = Levels(GOODS, stages, truth)
    for rule in ("soft", "hard"):
        found = climb_guarantee(*distributions(stages, GOODS, rule), GOODS, truth, 0.9, 0.1)
        assert (levels.at(0.9, rule).threshold, levels.at(0.9, rule).n_given) == (
            found.threshold,
            found.n_given,
        )
    assert levels.at(0.9, "soft").n_given != levels.at(0.9, "hard").n_given


def test_what_no_threshold_keeps_is_not_guaranteed():
    stages, truth = calibration(500, 0.0)
    guarantee = Levels(GOODS, stages, truth).at(0.95, "soft")
    assert guarantee.kind == "never"
    assert answers(*distributions(STAGES, GOODS, "soft"), GOODS, guarantee.threshold)[0].level == "none"


def test_too_few_images_guarantee_nothing_and_say_how_many_it_takes():
    stages, truth = calibration(20, 1.0)
    guarantee = Levels(GOODS, stages, truth).at(0.95, "soft")
    assert (guarantee.kind, guarantee.n_images, guarantee.threshold) == ("few", 20, 0.95)
    assert guarantee.n_needed == 77  # log(.1 / 5) / log(.95) = 76.3


def test_without_images_the_slider_is_a_threshold_and_says_so():
    guarantee = Levels(GOODS).at(0.8, "soft")
    assert (guarantee.kind, guarantee.threshold) == ("unchecked", 0.8)


def test_what_the_bundle_guarantees_is_offered_at_its_own_level_and_rule_only():
    levels = Levels(GOODS, stored=ClimbGuarantee(0.9, 0.05, 0.77, 300, 200, 190))
    assert levels.start == 0.9
    guarantee = levels.at(0.9, "soft")
    assert (guarantee.kind, guarantee.threshold, guarantee.n_right, guarantee.delta) == (
        "checked",
        0.77,
        190,
        0.05,
    )
    assert levels.at(0.91, "soft").kind == levels.at(0.9, "hard").kind == "unchecked"
