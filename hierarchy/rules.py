"""Routing rules by name: what each needs, which sub-models it runs, its parameter, formula and source.

One table, `RULES`, that prediction, benchmark, settings, commands, report and exports read; `register_rule` adds to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import rule_functions as functions
from .hierarchy import Hierarchy
from .registry import Registry

BOTH = ("macro_probs", "within_probs")
DISTRIBUTIONS = (*BOTH, "flat_probs")
CELLS = 2**22
"""Probabilities that `in_parts` computes at once."""


@dataclass(frozen=True)
class RuleDefinition:
    """What a routing rule is, apart from its parameter; see `register_rule`."""

    name: str
    combine: Callable[..., np.ndarray]
    description: str
    needs: tuple[str, ...] = BOTH
    keep: Callable[[np.ndarray, Any], np.ndarray] | None = None
    check: Callable[[Any], Any] | None = None
    number: Callable[[str], int | float] = float
    example: str = ""
    formula: str = ""
    source: str = ""
    several_levels: bool = False
    probabilities: bool = True


RULES: Registry[RuleDefinition] = Registry("routing rule", "rules")
"""The routing rules by name."""


def register_rule(
    name: str,
    *,
    description: str,
    needs: tuple[str, ...] = BOTH,
    keep: Callable[[np.ndarray, Any], np.ndarray] | None = None,
    check: Callable[[Any], Any] | None = None,
    number: Callable[[str], int | float] = float,
    example: str = "",
    formula: str = "",
    source: str = "",
    several_levels: bool = False,
    probabilities: bool = True,
) -> Callable[[Callable[..., np.ndarray]], Callable[..., np.ndarray]]:
    """Make a function a routing rule that its name selects everywhere: in calls, settings, benchmarks, commands.

    Parameters
    ----------
    name : str
    description : str
        What the rule does, in half a sentence; stands in help texts and reports.
    needs : tuple of str
        Which of `macro_probs` (n, n_macros), `within_probs` (n, n_slots) and `flat_probs` (n, n_classes) the function
        takes, in the order of its arguments; `hierarchy` and, for a rule with one, the parameter follow. A rule that
        needs no `macro_probs` routes by the macro distribution that the flat model implies.
    keep : callable, optional
        (macro_probs, parameter) -> bool of shape (n, n_macros): the macros whose sub-models have any weight. Other
        sub-models needn't run. None where all have weight.
    check : callable, optional
        From the number (or tuple of numbers) after the colon to the parameter, raising ValueError if it makes no
        sense. None for a rule without a parameter.
    number : callable
        Reads each number after the colon: int or float.
    example : str
        How the rule is written with its parameter, for example `beam:2`.
    formula, source : str
        For the documentation.
    several_levels : bool
        Whether answers can be macros or nothing (climb); the class distribution is the function's all the same.
    probabilities : bool
        Whether the distribution says how sure the rule is. hard and masked give every class outside one macro exactly
        0, however unsure the router is: no calibration is shown for them.

    Returns
    -------
    callable
        Decorator that returns the function unchanged. The function returns a class distribution of shape (n,
        n_classes), rows sum to 1, columns in the order of `hierarchy.classes`.

    Raises
    ------
    ValueError
        If the name is taken, or `needs` names something else.
    """
    unknown = [need for need in needs if need not in DISTRIBUTIONS]
    if unknown or not needs:
        raise ValueError(
            f"`needs` lists some of {', '.join(DISTRIBUTIONS)}. Received for {name!r}: {needs or 'nothing'}."
        )
    if check is not None and not example:
        raise ValueError(
            f"The rule {name!r} has a parameter: say with `example` how it is written, like beam:2."
        )

    def register(combine: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        definition = RuleDefinition(
            name,
            combine,
            description,
            needs,
            keep,
            check,
            number,
            example,
            formula,
            source,
            several_levels,
            probabilities,
        )
        RULES.add(name, definition)
        return combine

    return register


@dataclass(frozen=True)
class RoutingRule:
    """A routing rule and its parameter; `str()` gives the text that `parse_rule` reads.

    Attributes
    ----------
    name
        A key of `RULES`.
    parameter
        beam: k. threshold: t. climb: (class threshold, macro threshold). Rules without one: None.
    """

    name: str
    parameter: Any = None

    def __post_init__(self) -> None:
        check = RULES[self.name].check
        if self.parameter is None and check:
            raise ValueError(
                f"Routing rule {self.name!r} needs a parameter. Write {RULES[self.name].example}."
            )
        if self.parameter is not None and not check:
            raise ValueError(f"Routing rule {self.name!r} takes no parameter. Received: {self.parameter!r}.")
        if check:
            object.__setattr__(self, "parameter", check(self.parameter))

    @property
    def definition(self) -> RuleDefinition:
        """What the rule is, whatever its parameter."""
        return RULES[self.name]

    @property
    def needs(self) -> tuple[str, ...]:
        """Which of `macro_probs`, `within_probs`, `flat_probs` the rule needs."""
        return self.definition.needs

    @property
    def routes_by_flat(self) -> bool:
        """Whether the macros' probabilities are those that the flat model implies."""
        return "macro_probs" not in self.needs

    @property
    def selective(self) -> bool:
        """Whether some sub-models have no weight for some images."""
        return self.definition.keep is not None

    def kept(self, macro_probs: np.ndarray) -> np.ndarray:
        """Return which macros' sub-models have any weight, as bool of shape (n, n_macros)."""
        keep = self.definition.keep
        return np.ones(macro_probs.shape, bool) if keep is None else keep(macro_probs, self.parameter)

    def __str__(self) -> str:
        if self.parameter is None:
            return self.name
        values = self.parameter if isinstance(self.parameter, tuple) else (self.parameter,)
        return f"{self.name}:{','.join(f'{value:.12g}' for value in dict.fromkeys(values))}"


def parse_rule(text: str | RoutingRule) -> RoutingRule:
    """Read a rule as a person types it: "soft", "beam:2", "threshold:0.1", "climb:0.9", "climb:0.9,0.8".

    Raises
    ------
    ValueError
        If the rule is unknown, or its parameter is missing, superfluous, not a number or out of range.
    """
    if isinstance(text, RoutingRule):
        return text
    name, colon, written = text.strip().partition(":")
    if not colon or name not in RULES:
        return RoutingRule(name)
    definition = RULES[name]
    try:
        values = [definition.number(part) for part in written.split(",")]
    except ValueError as error:
        raise ValueError(
            f"The parameter of {text!r} is not a number. Write it as {definition.example or name}."
        ) from error
    if len(values) > 1 and "," not in definition.example:
        raise ValueError(f"Routing rule {name!r} takes at most one parameter. Received: {text!r}.")
    return RoutingRule(name, values[0] if len(values) == 1 else tuple(values))


def route(
    rule: str | RoutingRule,
    *,
    hierarchy: Hierarchy,
    macro_probs: ArrayLike | None = None,
    within_probs: ArrayLike | None = None,
    flat_probs: ArrayLike | None = None,
) -> np.ndarray:
    """Compute the class distribution of any rule.

    climb's distribution is soft's; what it answers then comes from `rule_functions.climb`.

    Returns
    -------
    numpy.ndarray
        Of shape (n, n_classes), rows sum to 1, columns in the order of `hierarchy.classes`.

    Raises
    ------
    ValueError
        If the rule is unknown, a distribution that it needs is missing, or one does not fit.
    """
    rule = parse_rule(rule)
    given = {"macro_probs": macro_probs, "within_probs": within_probs, "flat_probs": flat_probs}
    missing = [name for name in rule.needs if given[name] is None]
    if missing:
        raise ValueError(
            f"Routing rule {str(rule)!r} needs {' and '.join(rule.needs)}. Missing: {', '.join(missing)}."
        )
    parameter = () if rule.parameter is None or rule.definition.several_levels else (rule.parameter,)
    return rule.definition.combine(*(given[name] for name in rule.needs), hierarchy, *parameter)


def in_parts(rule: RoutingRule, hierarchy: Hierarchy, tables: Mapping[str, np.ndarray]) -> np.ndarray:
    """Compute what `route` does in parts of the images, which takes less memory; no answer depends on it.

    Parameters
    ----------
    rule : RoutingRule
    hierarchy : Hierarchy
    tables : mapping of str to ndarray
        The distributions that `route` takes, by name.

    Returns
    -------
    numpy.ndarray
        Of shape (n, n_classes), of the type of the tables.
    """
    n, dtype = len(next(iter(tables.values()))), np.result_type(*tables.values())
    found, size = np.empty((n, hierarchy.n_classes), dtype), max(CELLS // hierarchy.n_classes, 1)
    for start in range(0, n, size):
        part = {name: table[start : start + size] for name, table in tables.items()}
        found[start : start + size] = route(rule, hierarchy=hierarchy, **part)
    return found


def rule_names(several_levels: bool = False) -> tuple[str, ...]:
    """Return how the rules are written, with an example's parameter: `soft`, `beam:2`.

    Parameters
    ----------
    several_levels : bool
        Whether rules that answer with macros, too, are listed.
    """
    return tuple(
        (definition.example or name).split(" or ")[0]
        for name, definition in RULES.items()
        if several_levels or not definition.several_levels
    )


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"beam needs a whole number of macros, 1 or more (beam:2). Received: {value!r}.")
    return value


def _share(value: Any) -> float:
    if not (isinstance(value, int | float) and 0 <= value <= 1):
        raise ValueError(f"threshold needs a number from 0 to 1 (threshold:0.1). Received: {value!r}.")
    return value


register_rule(
    "soft",
    description="router times sub-model, over all macros",
    formula="P(c) = sum over macros m holding c of P(m) P(c | m)",
    source="law of total probability; HD-CNN (Yan et al., ICCV 2015)",
)(functions.soft)
register_rule(
    "hard",
    description="the best class inside the router's most probable macro",
    keep=lambda macro_probs, _: functions.best_macros(macro_probs, 1),
    probabilities=False,
    formula="P(c) = P(c | m*), m* = argmax P(m)",
    source="local classifier per parent node (Silla and Freitas, Data Mining and Knowledge Discovery, 2011)",
)(functions.hard)
register_rule(
    "beam",
    description="soft over the most probable macros",
    keep=functions.best_macros,
    check=_whole,
    number=int,
    example="beam:2",
    formula="P(c) = sum of P(m) P(c | m) / sum of P(m), over the k most probable macros",
    source="beam search through a tree of classifiers (Kumar et al., Machine Learning, 2013)",
)(functions.beam)
register_rule(
    "threshold",
    description="soft over the macros that are probable enough",
    keep=functions.likely_macros,
    check=_share,
    example="threshold:0.1",
    formula="P(c) = sum of P(m) P(c | m) / sum of P(m), over the macros with P(m) >= t",
    source="conditional execution of HD-CNN (Yan et al., ICCV 2015)",
)(functions.threshold)
register_rule(
    "implied",
    description="flat's own macro probabilities in place of the router's, times the sub-models",
    needs=("flat_probs", "within_probs"),
    formula="P(c) = P_flat(m(c)) P(c | m(c))",
    source="this project: what sub-models are worth without a router",
)(functions.implied)
register_rule(
    "hie",
    description="flat times router, no sub-models",
    needs=("flat_probs", "macro_probs"),
    formula="P(c) = P_flat(c) P(m(c)) / sum of the same over all classes",
    source="hierarchical ensembles (Jain, Karthik and Gandhi, NeurIPS 2023)",
)(functions.hie)
register_rule(
    "masked",
    description="flat inside the macro that the router chose",
    probabilities=False,
    needs=("flat_probs", "macro_probs"),
    formula="P(c) = P_flat(c) / P_flat(m*) inside m* = argmax P(m), 0 outside",
    source="this project: what the router is worth without sub-models",
)(functions.masked)
register_rule(
    "climb",
    description="the class if sure, else its macro, else nothing",
    check=functions.climb_thresholds,
    example="climb:0.9 or climb:0.9,0.8",
    formula="the most probable class if its P(c) reaches the class threshold, else the macro that holds it if P(m) "
    "reaches its own, else nothing; P(c) is soft's",
    source="Deng et al., Hedging your bets (CVPR 2012), with fixed thresholds",
    several_levels=True,
)(functions.soft)
