"""One demonstration: networks, guarantees and a run, put together once and then only read."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aisles.data_prep.io.errors import UnreadableImage

from .calibration import calibration_of
from .judging import FLAT, Answer, answers, distributions
from .levels import HIGHEST, LOWEST, Guarantee, Levels
from .networks import Cost, Look, Networks
from .run_facts import Example, RunFacts, foreign_object, read_facts
from .why import Why

logger = logging.getLogger(__name__)
MEGABYTE = 1024 * 1024
UPLOAD_LIMIT = 32 * MEGABYTE
"""Bytes of one image at most."""


class TooLarge(UnreadableImage):
    """An image file of more than `UPLOAD_LIMIT` bytes."""


@dataclass(frozen=True, eq=False)
class Judged:
    """An image under one rule and one guarantee."""

    answer: Answer
    guarantee: Guarantee
    probs: np.ndarray
    macro_probs: np.ndarray
    costs: dict[str, Cost]


@dataclass(frozen=True, eq=False)
class Demo:
    """What the page and the HTTP API answer with.

    Attributes
    ----------
    networks : Networks
    levels : Levels
    why : Why
    facts : RunFacts or None
        Of `--run`.
    """

    networks: Networks
    levels: Levels
    why: Why
    facts: RunFacts | None = None

    @property
    def examples(self) -> list[Example]:
        """Images to try."""
        return [*(self.facts.examples if self.facts else []), foreign_object()]

    def look(self, data: bytes, name: str) -> Look:
        """Pass an image through the networks.

        Raises
        ------
        TooLarge
            If the file is too large.
        UnreadableImage
            If it can't be decoded.
        """
        if len(data) > UPLOAD_LIMIT:
            raise TooLarge(f"has {len(data) / MEGABYTE:.0f} MB; the limit is {UPLOAD_LIMIT // MEGABYTE} MB")
        return self.networks.look(data, name)

    def judge(self, look: Look, rule: str, target: float, only: tuple[str, ...] = ()) -> Judged:
        """Answer for an image that the networks have seen; none of them runs again.

        Raises
        ------
        ValueError
            If the rule or a name of `only` is unknown here, or the target is out of reach.
        """
        rule, target = self.checked(rule, target)
        probs, macro_probs = distributions(look.stages, self.networks.hierarchy, rule, only)
        guarantee = self.levels.at(target, rule, only)
        answer = answers(probs, macro_probs, self.networks.hierarchy, guarantee.threshold)[0]
        costs = {name: self.networks.cost(look, name, only) for name in dict.fromkeys((rule, FLAT))}
        return Judged(answer, guarantee, probs[0], macro_probs[0], costs)

    def checked(self, rule: str, target: float) -> tuple[str, float]:
        """Return rule and target as they are asked for inside, or refuse them."""
        if rule not in self.networks.rules:
            raise ValueError(f"rule must be one of {', '.join(self.networks.rules)}. Received: {rule!r}.")
        if not LOWEST <= target <= HIGHEST:
            raise ValueError(f"level must be between {LOWEST} and {HIGHEST}. Received: {target}.")
        return rule, round(float(target), 4)


def open_demo(
    bundle: str | Path,
    flat: str | Path | None = None,
    run: str | Path | None = None,
    *,
    cache: Path | None = None,
) -> Demo:
    """Load a bundle for the page, let its networks pass once, and find out what can be guaranteed.

    Parameters
    ----------
    bundle : path
    flat : path, optional
        A flat bundle to compare with.
    run : path, optional
        The run whose test images guarantees are checked on and examples are taken from.
    cache : path, optional
        Folder for what is remembered between starts.

    Raises
    ------
    DataError
        If a bundle or the run can't be read.
    ValueError
        If the flat bundle doesn't fit.
    """
    networks = Networks(bundle, flat)
    facts = None if run is None else read_facts(run)
    found = None
    if run is not None:
        found = calibration_of(
            networks, Path(run), Path(bundle), None if flat is None else Path(flat), cache=cache
        )
    confidence = networks.classifier.confidence
    stored_rule = "soft" if networks.two_stage is not None else FLAT
    levels = Levels(
        networks.hierarchy,
        *(found or (None, None)),
        stored=None if confidence is None else confidence.climb,
        stored_rule=stored_rule,
    )
    why = Why(networks, None if run is None else Path(run), cache)
    warm_up(networks, why)
    return Demo(networks, levels, why, facts)


def warm_up(networks: Networks, why: Why) -> None:
    """Let one image through everything, so that no visitor waits for networks to load."""
    look = networks.look(foreign_object().data)
    for rule in networks.rules[:1]:
        why.stages(look, rule)
    why.nearest(look, list(networks.hierarchy.classes[:1]))
