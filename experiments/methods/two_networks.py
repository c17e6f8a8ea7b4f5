"""Router on a cheap network, sub-models on a stronger one where that pays: a second look by macro that can be saved.

Which macros get the stronger network is chosen on validation images: those in which it gains most per image come first,
until a stated share of images is sent there. The rule is hard, so an image whose macro keeps the cheap network never
passes the stronger one, in a bundle as in the benchmark. The others' features are not joined: each sub-model reads one
network's, so that nothing runs twice.
"""

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from aisles.hierarchy.rules import parse_rule, route
from aisles.models.heads.closed_form import Background
from aisles.models.heads.registry import HEADS
from aisles.models.heads.tuning import Parts, Tuned, tune

from .registry import Context, MethodResult, register_method
from .second_look import HEAD, products_of, same_share
from .sent import Budget, sent_shares

if TYPE_CHECKING:
    from aisles.models.prediction.two_stage import TwoStageClassifier

_KNOWN: "WeakKeyDictionary[Context, tuple[Tuned, list[list[Tuned | None]]]]" = WeakKeyDictionary()


def _slices(context: Context) -> tuple[slice, slice]:
    """Return the columns of the cheap network's features and of the stronger one's.

    Raises
    ------
    ValueError
        If the backbone is not two networks joined.
    """
    parts = getattr(context.backbone, "parts", ())
    if len(parts) != 2:
        raise ValueError(
            "two-networks needs two networks joined, the cheap one first: "
            f"--backbone efficientnet_lite0+efficientnet_lite2. Received: {context.settings.backbone.name}."
        )
    return slice(0, parts[0].dimension), slice(parts[0].dimension, None)


def _fitted(context: Context) -> tuple[Tuned, list[list[Tuned | None]]]:
    """Return the router, and per macro its sub-model on either network; None for macros of one class."""
    if context not in _KNOWN:
        cheap, strong = _slices(context)
        macro = context.hierarchy.macro_of[context.targets]
        router = _tuned(context, cheap, macro, context.hierarchy.n_macros, whole=True)
        places = {name: i for i, name in enumerate(context.classes)}
        submodels: list[list[Tuned | None]] = []
        for members in context.hierarchy.members:
            own = np.full(len(places), -1)
            own[[places[name] for name in members]] = np.arange(len(members))
            targets = own[context.targets]
            submodels.append(
                [
                    _tuned(context, part, targets, len(members)) if len(members) > 1 else None
                    for part in (cheap, strong)
                ]
            )
        _KNOWN[context] = router, submodels
    return _KNOWN[context]


def _tuned(
    context: Context, part: slice, targets: np.ndarray, n_labels: int, *, whole: bool = False
) -> Tuned:
    features, known = context.features[:, part], targets >= 0
    rows = {split: context.rows(split) for split in ("train", "val")}
    background = None if whole else Background(features[rows["train"]], context.targets[rows["train"]])
    own = Parts(
        features,
        targets,
        rows["train"][known[rows["train"]]],
        rows["val"][known[rows["val"]]],
        context.prepared.manifest.products,
        background,
    )
    return tune(HEADS[HEAD], own, n_labels, refit=context.settings.training.refit)


def _budget(parameter: str) -> Budget:
    """Read the share of validation images that may be sent at most.

    Raises
    ------
    ValueError
        For a share that is none, or one of a batch: whole macros are sent, and a bundle knows which beforehand.
    """
    budget = Budget.read(parameter)
    if budget.in_batch:
        raise ValueError(
            "two-networks sends whole macros, which validation images choose; it can't keep the share of a batch. "
            f"Write two-networks:{budget.share:g}, or second-look:margin@{budget.share:g}/batch."
        )
    return budget


def macros_sent(context: Context, share: float) -> np.ndarray:
    """Return which macros get the stronger network, (n_macros,): the most gained per validation image first.

    A macro is taken if the share of validation images that the router sends to those taken stays at most `share`, and
    the stronger sub-model is right more often than the cheap one.
    """
    router, submodels = _fitted(context)
    val, hierarchy = context.rows("val"), context.hierarchy
    routed = router.val_probs[val].argmax(1)
    gains, sizes = np.zeros(hierarchy.n_macros), np.bincount(routed, minlength=hierarchy.n_macros)
    places = {name: i for i, name in enumerate(context.classes)}
    for m, (pair, members) in enumerate(zip(submodels, hierarchy.members, strict=True)):
        rows = val[routed == m]
        if len(rows) and pair[0] is not None and pair[1] is not None:
            classes = np.array([places[name] for name in members])
            right = [
                (classes[model.val_probs[rows].argmax(1)] == context.targets[rows]).mean()
                for model in pair
                if model is not None
            ]
            gains[m] = right[1] - right[0]
    chosen, used = np.zeros(hierarchy.n_macros, dtype=bool), 0
    for m in np.argsort(-gains, kind="stable"):
        if gains[m] > 0 and used + sizes[m] <= share * len(val):
            chosen[m], used = True, used + sizes[m]
    return chosen


@register_method(
    "two-networks",
    description="hard: router on the first of two networks, sub-models on the second in the macros where that pays",
    baseline=same_share,
    brings=("first-look",),
    parameter="SHARE",
    optional_parameter=True,
    classifier=lambda context, parameter: _saved(context, parameter),
)
def two_networks(context: Context, parameter: str) -> MethodResult:
    """Route by the cheap network; the sub-models of some macros read the stronger one."""
    budget, hierarchy = _budget(parameter), context.hierarchy
    router, submodels = _fitted(context)
    chosen = macros_sent(context, budget.share)
    n_networks, tables = 2, {}
    for split, key in (("val", "val_probs"), ("test", "probs")):
        rows = context.rows(split)
        within = np.concatenate(
            [
                np.ones((len(rows), 1)) if pair[0] is None else getattr(pair[int(sent)], key)[rows]
                for pair, sent in zip(submodels, chosen, strict=True)
            ],
            axis=1,
        )
        macro = getattr(router, key)[rows]
        probs = route(parse_rule("hard"), hierarchy=hierarchy, macro_probs=macro, within_probs=within)
        tables[split] = probs, macro
    going = {split: chosen[macro.argmax(1)] for split, (_, macro) in tables.items()}
    share = float(going["test"].mean())
    heads = router.model.parameters + sum(
        pair[int(sent)].model.parameters  # type: ignore[union-attr]
        for pair, sent in zip(submodels, chosen, strict=True)
        if pair[0] is not None
    )
    parameters = context.backbone.n_parameters + heads
    return MethodResult(
        tables["test"][0][None],
        tables["val"][0][None],
        hierarchy=hierarchy,
        macro_probs=np.repeat(tables["test"][1][None], len(context.seeds), axis=0).astype(np.float32),
        val_macro_probs=np.repeat(tables["val"][1][None], len(context.seeds), axis=0).astype(np.float32),
        cost={
            "backbone_passes": (1 + share) / n_networks,
            "head_passes": 2.0,
            "parameters": parameters,
            "head_parameters": heads,
            "weight_bytes": 4 * parameters,
            "images": context.trainer.n_learning,
        },
        probabilities=parse_rule("hard").definition.probabilities,
        searched=router.searched,
        deterministic=True,
        sent=sent_shares(budget, going["val"], going["test"], products_of(context)),
    )


def _saved(context: Context, parameter: str) -> "TwoStageClassifier":
    """Return the classifier; every model has one of the two networks."""
    from aisles.models.prediction.label_model import LabelModel
    from aisles.models.prediction.two_stage import TwoStageClassifier

    router, submodels = _fitted(context)
    chosen = macros_sent(context, _budget(parameter).share)
    networks: Any = context.backbone.parts  # type: ignore[attr-defined]
    models = [
        LabelModel(members)
        if pair[0] is None
        else LabelModel(members, networks[int(sent)], _on_own_length(pair[int(sent)], networks[int(sent)]))
        for members, pair, sent in zip(context.hierarchy.members, submodels, chosen, strict=True)
    ]
    first = LabelModel(context.hierarchy.macros, networks[0], _on_own_length(router, networks[0]))
    return TwoStageClassifier(first, models, context.hierarchy, rule="hard")


def _on_own_length(tuned: "Tuned | None", network: Any) -> Any:
    """Return a head for the network's own features, which scales them to one length, as joined ones are."""
    from aisles.models.backbones.joined import LENGTH
    from aisles.models.heads.combined import at_length

    assert tuned is not None
    return at_length(tuned.model.network(), network.dimension, LENGTH)
