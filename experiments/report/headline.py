"""The first lines of a report: the verdict as one plain sentence, and under it what it rests on."""

from aisles.experiments.report.render.document import p_text, signed
from aisles.experiments.runs.schema import ComparisonFacts
from aisles.experiments.stats.points import size_in_points


def headline(comparison: ComparisonFacts, ours: str, theirs: str) -> str:
    """Return a verdict as one plain sentence, with both accuracies and their difference.

    Parameters
    ----------
    comparison : ComparisonFacts
    ours, theirs : str
        What to call its `b` and its `a`.
    """
    share, other = 100 * comparison["accuracy_b"], 100 * comparison["accuracy_a"]
    apart = f"{signed(100 * comparison['difference'])} points"
    if comparison["verdict"] in ("better", "worse"):
        return _opened(
            f"{ours} is {comparison['verdict']}: {share:.1f} % correct against {other:.1f} % for {theirs}, {apart}."
        )
    numbers = f"{share:.1f} % against {other:.1f} % correct, {apart}."
    if comparison["verdict"] == "equivalent":
        return _opened(
            f"{ours} and {theirs} are equivalent within {size_in_points(comparison['margin'])}: {numbers}"
        )
    if comparison["verdict"] == "better than some":
        return (
            f"No advantage shown: {ours} is better than the flat model that validation images prefer, and not than "
            f"every flat model ({numbers[:-1]})."
        )
    if comparison["verdict"] == "not judged":
        return comparison["sentence"]
    return f"No difference shown between {ours} and {theirs}: {numbers}"


def evidence(comparison: ComparisonFacts) -> str:
    """Return in words on what a verdict rests: interval, test, power, and what it speaks of."""
    low, high = (signed(100 * bound) for bound in comparison["interval"])
    same = comparison["verdict"] == "equivalent"
    p = comparison["equivalence_p_corrected"] if same else comparison["p_corrected"]
    test = "p of equivalence" if same else "p"
    value = p_text(p) if p < 1e-4 else f"= {p_text(p)}"
    family = f", corrected for {comparison['family']} comparisons" if comparison["family"] > 1 else ""
    return (
        f"{100 * (1 - comparison['alpha']):g} % interval {low} to {high} points; {test} {value}{family}; "
        f"{100 * comparison['power']:g} % power to detect {100 * comparison['smallest_detectable']:.1f} points. "
        f"The verdict is about {comparison['about']}."
    )


def _opened(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:] if sentence.startswith("the ") else sentence
