"""How one answer shows itself."""

from dataclasses import replace

from aisles.models.prediction.answers import HierarchicalPrediction

CHAIR = HierarchicalPrediction(
    macro="seats",
    macro_probability=0.954,
    label="CHAIR",
    probability=0.876,
    top=(("CHAIR", 0.876), ("STOOL & <BENCH>", 0.1)),
    path=(("seats", 0.954), ("CHAIR", 0.876)),
    answered="class",
    rule="soft",
)


def test_an_answer_is_one_line_with_its_path():
    assert repr(CHAIR) == "<HierarchicalPrediction by soft: seats 0.95 > CHAIR 0.88>"
    stopped = replace(CHAIR, label=None, path=CHAIR.path[:1], answered="macro", rule="climb:0.9")
    assert repr(stopped) == "<HierarchicalPrediction by climb:0.9: seats 0.95>"
    nothing = replace(stopped, macro=None, path=(), answered="none")
    assert repr(nothing) == "<HierarchicalPrediction by climb:0.9: nothing is sure enough>"


def test_an_answer_in_a_notebook_has_its_path_the_rule_and_other_classes_escaped():
    shown = CHAIR._repr_html_()
    assert "<b>seats 0.95 &gt; CHAIR 0.88</b> (soft)" in shown
    assert "STOOL &amp; &lt;BENCH&gt; 0.10" in shown and "CHAIR 0.88," not in shown
