"""Second looks: a cheap network for every image, a stronger one for those that a gate sends on.

They need a joined backbone (`efficientnet_lite0+efficientnet_lite2`): its first network looks at every image, the
others at images sent. The gate is pre-specified and its threshold comes from validation images, so that a stated share
of images like these is sent, and with it the mean cost. Each urgency is of a model that never saw its product: those of
validation images are cross-fitted, no product in two folds. Where other images come than those of the validation split,
or several photographs of one visit pass for different products, the share is another: stated and measured share are
recorded side by side (`sent`). SHARE/batch ranks the images that are asked about among
themselves, so that the share is kept whatever comes; an answer then depends on the images beside it.

The stronger look has the features of all networks, for the cheap ones are there already. Beside a second look by macro
stand the same share of images sent with no macros (`second-look-flat`), the cheap network alone (`first-look`) and all
networks for every image (`flat-lda`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from aisles.hierarchy.rule_functions import macro_from_flat
from aisles.models.heads.registry import HEADS
from aisles.models.heads.tuning import Parts, Tuned, tune

from .head_jobs import HeadJob, flat_job, submodel_job, with_head
from .registry import Context, MethodResult, register_method
from .sent import Budget, sent_shares

HEAD = "lda"
Gate = Callable[["Look", "Look"], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Look:
    """What a gate sees of some images.

    Attributes
    ----------
    cheap : ndarray of shape (n_images, n_classes)
        The first look's class distribution.
    macro : ndarray of int of shape (n_images,)
        The macro that the first look prefers.
    gain : ndarray of shape (n_images,), or None
        What the second look is worth: right there less right here; None for images whose class isn't to be looked at.
    """

    cheap: np.ndarray
    macro: np.ndarray
    gain: np.ndarray | None = None

    @property
    def margin(self) -> np.ndarray:
        """The best class's probability less the second's."""
        two = np.partition(self.cheap, -2, axis=1)[:, -2:]
        return two[:, 1] - two[:, 0]


def by_margin(val: Look, asked: Look) -> tuple[np.ndarray, np.ndarray]:
    """Return urgencies of validation images and of others: the smaller the margin, the more urgent."""
    return -val.margin, -asked.margin


def by_macro(val: Look, asked: Look) -> tuple[np.ndarray, np.ndarray]:
    """Return urgencies: the macro's mean gain on validation images; inside a macro the smaller margins first.

    Means are drawn towards the mean of all by ten images, so that a macro with few validation images is no lottery.
    """
    worth = _worth(val)
    return worth[val.macro] - 1e-6 * val.margin, worth[asked.macro] - 1e-6 * asked.margin


def by_both(val: Look, asked: Look) -> tuple[np.ndarray, np.ndarray]:
    """Return urgencies: small margins first, and only in macros in which validation images gain."""
    pays = _worth(val) > 0
    return (
        -val.margin - 2.0 * ~pays[val.macro],
        -asked.margin - 2.0 * ~pays[asked.macro],
    )


def _worth(val: Look, strength: float = 10.0) -> np.ndarray:
    assert val.gain is not None
    n = 1 + int(val.macro.max(initial=0))
    counts, sums = np.bincount(val.macro, minlength=n), np.bincount(val.macro, val.gain, minlength=n)
    worth = (sums + strength * val.gain.mean()) / (counts + strength)
    return np.append(worth, np.full(1000, val.gain.mean()))  # macros that no validation image is sent to


GATES: dict[str, Gate] = {"macro": by_macro, "margin": by_margin, "both": by_both}


def threshold_for(urgency: np.ndarray, share: float) -> float:
    """Return the urgency from which on that share of images is sent: its (1 - share) quantile."""
    return -np.inf if share >= 1 else float(np.quantile(urgency, 1 - share, method="higher"))


# ---- methods ------------------------------------------------------------------------------------

_KNOWN: WeakKeyDictionary[Context, Tuned] = WeakKeyDictionary()


def first_look_of(context: Context) -> Tuned:
    """Return the discriminant over all classes on the first network's features, fitted once per benchmark.

    Raises
    ------
    ValueError
        If the backbone is not a joined one.
    """
    parts = getattr(context.backbone, "parts", ())
    if len(parts) < 2:
        raise ValueError(
            "A second look needs a joined backbone, the cheap network first: "
            f"--backbone efficientnet_lite0+efficientnet_lite2. Received: {context.settings.backbone.name}."
        )
    if context not in _KNOWN:
        own = Parts(
            context.features[:, : parts[0].dimension],
            context.targets,
            context.rows("train"),
            context.rows("val"),
            context.prepared.manifest.products,
        )
        _KNOWN[context] = tune(HEADS[HEAD], own, len(context.classes), refit=context.settings.training.refit)
    return _KNOWN[context]


def read_gate(text: str) -> tuple[str, Budget]:
    """Read `margin`, `margin@0.3` or `margin@0.3/batch`: the gate and the share of images sent.

    Raises
    ------
    ValueError
        If there is no such gate, or the share isn't above 0 and at most 1.
    """
    name, _, share = text.partition("@")
    if name not in GATES:
        raise ValueError(f"A gate is one of {', '.join(GATES)}, with @SHARE if need be. Received: {text!r}.")
    return name, Budget.read(share)


def _jobs(context: Context, parameter: str = "") -> list[HeadJob]:
    return [with_head(flat_job(context.classes, 0), HEAD)]


def _submodel_jobs(context: Context, parameter: str) -> list[HeadJob]:
    needed = [submodel_job(members, 0) for members in context.hierarchy.members if len(members) > 1]
    return [*_jobs(context), *(with_head(job, HEAD) for job in needed)]


def products_of(context: Context) -> tuple[np.ndarray, np.ndarray]:
    """Return the products of validation and of test images."""
    products = np.asarray(context.prepared.manifest.products)
    return products[context.rows("val")], products[context.rows("test")]


def _result(
    context: Context,
    gate: Gate,
    budget: Budget,
    second: dict[str, np.ndarray],
    jobs: list[HeadJob],
    **more: Any,
) -> MethodResult:
    """Send images on by one threshold, and put the second look's distributions in their places."""
    first, hierarchy = first_look_of(context), context.hierarchy
    rows = {split: context.rows(split) for split in ("val", "test")}
    cheap = {"val": first.val_probs[rows["val"]], "test": first.probs[rows["test"]]}
    macro = {split: macro_from_flat(probs, hierarchy).argmax(1) for split, probs in cheap.items()}
    truth = context.targets[rows["val"]]
    right, before = second["val"].argmax(1) == truth, cheap["val"].argmax(1) == truth
    looks = Look(cheap["val"], macro["val"], right.astype(float) - before), Look(cheap["test"], macro["test"])
    urgency: dict[str, np.ndarray] = dict(zip(("val", "test"), gate(*looks), strict=True))
    going = {
        split: own >= threshold_for(own if budget.in_batch else urgency["val"], budget.share)
        for split, own in urgency.items()
    }
    probs = {split: np.where(going[split][:, None], second[split], cheap[split]) for split in cheap}
    return MethodResult(
        probs["test"][None],
        probs["val"][None],
        cost=cost_of(context, float(going["test"].mean()), jobs, first.model.parameters),
        searched=first.searched,
        deterministic=True,
        sent=sent_shares(budget, going["val"], going["test"], products_of(context)),
        **more,
    )


def cost_of(context: Context, share: float, jobs: list[HeadJob], own: int) -> dict[str, float]:
    """Return the cost of looks: `backbone_passes` counts networks that an image passes, over all that are joined.

    Parameters
    ----------
    context : Context
    share : float
        Of test images that pass all networks; the others pass the first.
    jobs : list of HeadJob
    own : int
        Parameters of the first look's head.
    """
    n_networks = len(context.backbone.parts)  # type: ignore[attr-defined]
    heads = own + sum(context.trainer.budget(job).parameters for job in jobs)
    parameters = (context.backbone.n_parameters if jobs else context.backbone.parts[0].n_parameters) + heads  # type: ignore[attr-defined]
    return {
        "backbone_passes": (1 + share * (n_networks - 1)) / n_networks,
        "head_passes": 1 + share,
        "parameters": parameters,
        "head_parameters": heads,
        "weight_bytes": 4 * parameters,
        "images": context.trainer.n_learning,
    }


@register_method(
    "first-look",
    description="the first of the joined networks for every image, and a discriminant over all classes",
    role="flat",
)
def first_look(context: Context) -> MethodResult:
    """Answer from the cheap network alone."""
    found = first_look_of(context)
    return MethodResult(
        found.probs[context.rows("test")][None],
        found.val_probs[context.rows("val")][None],
        cost=cost_of(context, 0.0, [], found.model.parameters),
        searched=found.searched,
        deterministic=True,
    )


def same_share(parameter: str) -> str:
    """Name the second look with no macros that has the same budget."""
    return f"second-look-flat:{parameter}" if parameter else "second-look-flat"


@register_method(
    "second-look-flat",
    description="the images of least margin pass all joined networks and a discriminant over all classes",
    role="flat",
    heads=_jobs,
    parameter="SHARE",
    optional_parameter=True,
)
def second_look_flat(context: Context, parameter: str) -> MethodResult:
    """Send images on by margin, with no macros anywhere."""
    first_look_of(context)
    strong, jobs = context.trainer.flat(0, head=HEAD), _jobs(context)
    second = {"val": strong.val_probs[context.rows("val")], "test": strong.probs[context.rows("test")]}
    return _result(context, by_margin, Budget.read(parameter), second, jobs)


@register_method(
    "second-look",
    description="the images that a gate picks pass all joined networks and the sub-model of their macro: {parameter}",
    baseline=lambda parameter: same_share(parameter.partition("@")[2]),
    brings=("first-look", "flat-lda"),
    heads=_submodel_jobs,
    parameter="GATE",
)
def second_look(context: Context, parameter: str) -> MethodResult:
    """Route by the cheap network; at images sent, the sub-model of the macro orders its classes.

    P(c) = P_cheap(macro of c) P_sub-model(c) in the macro that the cheap network prefers, P_cheap(c) elsewhere.

    Raises
    ------
    ValueError
        If classes stand in several macros, the backbone is not a joined one, or there is no such gate.
    """
    gate, budget = read_gate(parameter)
    hierarchy, first, jobs = context.hierarchy, first_look_of(context), _submodel_jobs(context, parameter)
    macro_of, order = hierarchy.macro_of, np.argsort(hierarchy.slot_class)
    second, macros = {}, {}
    for split, key in (("val", "val_probs"), ("test", "probs")):
        rows = context.rows(split)
        cheap = getattr(first, key)[rows]
        macro = macro_from_flat(cheap, hierarchy)
        inside = context.trainer.within(hierarchy, 0, rows, key, HEAD)[:, order]
        there = macro_of[None, :] == macro.argmax(1)[:, None]
        second[split] = np.where(there, macro.max(1)[:, None] * inside, cheap)
        macros[split] = np.repeat(macro[None], len(context.seeds), axis=0).astype(np.float32)
    return _result(
        context, GATES[gate], budget, second, jobs[1:], hierarchy=hierarchy, macro_probs=macros["test"],
        val_macro_probs=macros["val"],
    )  # fmt: skip
