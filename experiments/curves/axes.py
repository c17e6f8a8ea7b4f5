"""What a curve can run along: a table of axes, each a change of the training images or of one setting.

Test images are never changed, apart from the axis `classes`, which leaves out those of the other classes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aisles.experiments.benchmark.coarse_images import CoarseImages
from aisles.experiments.benchmark.preparation import PreparedData
from aisles.experiments.settings.benchmark import BenchmarkSettings
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.registry import Registry

Value = float | int | str
ALL = "all"
SECTIONS = ("hierarchy", "training", "comparison")
"""Sections whose settings can be an axis; the others would need other features."""


@dataclass(frozen=True, eq=False)
class World:
    """What one point of a curve is measured in.

    Attributes
    ----------
    prepared : PreparedData
    features : ndarray of shape (n_images, dimension)
    settings : BenchmarkSettings
    hierarchy : Hierarchy or None
        Brought by a person; None if macros are learned from the training images of the point.
    known : Hierarchy
        The hierarchy of all data, brought or learned: what noise inside and across macros goes by.
    """

    prepared: PreparedData
    features: np.ndarray
    settings: BenchmarkSettings
    hierarchy: Hierarchy | None
    known: Hierarchy

    @property
    def labels(self) -> np.ndarray:
        """Each image's class."""
        return self.prepared.manifest.labels.astype(str)

    def keep(self, mask: np.ndarray) -> "World":
        """Return the world of some of the images."""
        prepared = replace(
            self.prepared, manifest=self.prepared.manifest.keep(mask), sha256=self.prepared.sha256[mask]
        )
        return replace(self, prepared=prepared, features=self.features[mask])


@dataclass(frozen=True)
class Axis:
    """A registered axis.

    Attributes
    ----------
    name : str
    description : str
        What its values count, as the plot's axis says it.
    apply : callable
        (world, value, generator) -> the world at that value.
    drawn : callable
        Whether another draw gives another world at a value.
    values : tuple of str
        The words that it takes beside numbers.
    numbers : tuple of float
        The lowest and the highest number; (1, 0) for none.
    """

    name: str
    description: str
    apply: Callable[[World, Value, np.random.Generator], World]
    drawn: Callable[[Value], bool]
    values: tuple[str, ...] = ()
    numbers: tuple[float, float] = (-np.inf, np.inf)
    whole: bool = False

    def read(self, text: str) -> Value:
        """Read one value.

        Raises
        ------
        ValueError
            If the axis doesn't take it.
        """
        if text in self.values:
            return text
        try:
            number = float(text)
        except ValueError:
            number = np.nan
        low, high = self.numbers
        if not low <= number <= high or (self.whole and number != int(number)):
            kind = "a whole number" if self.whole else "a number"
            told = [f"{kind} from {low:g}" + (f" to {high:g}" if np.isfinite(high) else "")] * (low <= high)
            raise ValueError(
                f"The axis {self.name} takes {' or '.join([*told, *self.values])}. Received: {text!r}."
            )
        return int(number) if number == int(number) and self.whole else number


AXES: Registry[Axis] = Registry("axis", "axes")
"""The axes by name; besides, every number among the settings of `SECTIONS` is one."""


def register_axis(axis: Axis) -> Axis:
    """Add an axis."""
    return AXES.add(axis.name, axis)


def find_axis(name: str) -> Axis:
    """Return an axis by name: a registered one, or a setting such as `hierarchy.macros`.

    Raises
    ------
    ValueError
        If there is none.
    """
    if "." not in name:
        return AXES[name]
    section, _, key = name.partition(".")
    fields: Any = getattr(BenchmarkSettings(), section, None) if section in SECTIONS else None
    default = getattr(fields, key, None) if fields is not None else None
    number = isinstance(default, int | float) and not isinstance(default, bool)
    if not number and name != "hierarchy.macros":
        raise ValueError(
            f"A setting can be an axis if it is a number of {', '.join(SECTIONS)}. Received: {name!r}. "
            f"Or take one of {', '.join(AXES)}."
        )

    def apply(world: World, value: Value, _generator: np.random.Generator) -> World:
        changed = world.settings.model_dump()
        changed[section][key] = value
        return replace(world, settings=BenchmarkSettings.model_validate(changed))

    return Axis(name, name, apply, lambda _value: False, whole=isinstance(default, int) or "macros" in key)


def read_curve(text: str) -> tuple[Axis, tuple[Value, ...]]:
    """Read `1,2,5,all` (fine labels per class), or `AXIS=VALUE,VALUE`.

    Raises
    ------
    ValueError
        If there is no such axis, it doesn't take a value, or there are fewer than two different ones.
    """
    name, equals, values = text.rpartition("=")
    axis = find_axis(name.strip() if equals else "labels")
    found = tuple(axis.read(part.strip()) for part in values.split(",") if part.strip())
    if len(found) < 2 or len(set(found)) < len(found):
        raise ValueError(f"A curve needs at least two different values. Received: {text!r}.")
    return axis, found


# ---- the axes that come with the package --------------------------------------------------------


def fewer_labels(world: World, value: Value, generator: np.random.Generator) -> World:
    """Keep so many training images per class, and at most as many validation images; smaller draws lie in larger ones.

    With a brought hierarchy the training images left out are known by their macro alone.
    """
    if value == ALL:
        return world
    labels, splits = world.labels, world.prepared.manifest.splits
    order = generator.random(len(labels))
    kept = splits == "test"
    for split in ("train", "val"):
        rows = np.flatnonzero(splits == split)
        rows = rows[np.argsort(order[rows])]
        _, place = np.unique(labels[rows], return_inverse=True)
        rank = np.empty(len(rows), int)
        by_class = np.argsort(place, kind="stable")
        counts = np.bincount(place)
        rank[by_class] = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        kept[rows[rank < value]] = True
    left = ~kept & (splits == "train")
    fewer = world.keep(kept)
    if world.hierarchy is None:
        return fewer
    return replace(fewer, prepared=replace(fewer.prepared, coarse=_coarse(world, left)))


def _coarse(world: World, rows: np.ndarray) -> CoarseImages:
    macro_of = dict(zip(world.known.classes, world.known.macro_of, strict=True))
    macros = np.array([world.known.macros[macro_of[label]] for label in world.labels[rows]], dtype=str)
    vectors, before = world.features[rows], world.prepared.coarse
    if before is None:
        return CoarseImages(vectors, macros)
    return CoarseImages(np.concatenate([before.vectors, vectors]), np.concatenate([before.macros, macros]))


def fewer_classes(world: World, value: Value, generator: np.random.Generator) -> World:
    """Keep so many classes, drawn at random; smaller draws lie in larger ones.

    Raises
    ------
    ValueError
        If there are fewer, or the classes drawn lie in one macro of a brought hierarchy.
    """
    classes = world.prepared.manifest.classes
    order = generator.permutation(len(classes))
    if value == ALL:
        return world
    if int(value) > len(classes):
        raise ValueError(f"There are {len(classes)} classes. Received: classes={value}.")
    chosen = {classes[i] for i in order[: int(value)]}
    fewer = world.keep(np.isin(world.labels, sorted(chosen)))
    known = _restricted(world.known, chosen)
    return replace(fewer, known=known, hierarchy=None if world.hierarchy is None else known)


def _restricted(hierarchy: Hierarchy, chosen: set[str]) -> Hierarchy:
    pairs = [
        (macro, tuple(c for c in members if c in chosen))
        for macro, members in zip(hierarchy.macros, hierarchy.members, strict=True)
    ]
    pairs = [(macro, members) for macro, members in pairs if members]
    if len(pairs) < 2:
        raise ValueError(
            f"{len(chosen)} classes drawn at random all lie in the macro {pairs[0][0]!r}. Take more of them."
        )
    return Hierarchy(tuple(macro for macro, _ in pairs), tuple(members for _, members in pairs))


def noise_inside(world: World, value: Value, generator: np.random.Generator) -> World:
    """Assign to a share of training and validation images another class of their own macro."""
    return _noisy(world, float(value), generator, inside=True)


def noise_across(world: World, value: Value, generator: np.random.Generator) -> World:
    """Assign to a share of training and validation images a class of another macro."""
    return _noisy(world, float(value), generator, inside=False)


def _noisy(world: World, share: float, generator: np.random.Generator, *, inside: bool) -> World:
    """Draw the images and their wrong labels; a larger share changes those of a smaller one and more.

    The share is of the images that can be changed: a macro's only class has no other inside. One image of each class
    keeps its label, so that no class disappears.
    """
    labels, splits, known = world.labels, world.prepared.manifest.splits, world.known
    classes = np.array(known.classes)
    targets = np.searchsorted(classes, labels)
    macro = known.macro_of
    order, pick = generator.permutation(len(labels)), generator.random(len(labels))
    changed = labels.astype(object)
    for split in ("train", "val"):
        rows = order[splits[order] == split]
        others = [
            np.flatnonzero(((macro == macro[t]) == inside) & (np.arange(len(classes)) != t))
            for t in range(len(classes))
        ]
        _, first = np.unique(targets[rows], return_index=True)
        may = np.array([len(others[targets[row]]) > 0 for row in rows], dtype=bool)
        may[first] = False
        rows = rows[may]
        for row in rows[: round(share * len(rows))]:
            choices = others[targets[row]]
            changed[row] = str(classes[choices[int(pick[row] * len(choices))]])
    manifest = world.prepared.manifest.with_columns(label=changed)
    return replace(world, prepared=replace(world.prepared, manifest=manifest))


def imbalanced(world: World, value: Value, generator: np.random.Generator) -> World:
    """Thin out training images to a long tail: the most frequent class has `value` times the rarest one's images.

    Classes in random order keep n value^(-i / (n_classes - 1)) images, n the smallest class's number before (Cui et
    al., Class-balanced loss, CVPR 2019); none less than one.
    """
    labels, splits = world.labels, world.prepared.manifest.splits
    rows = np.flatnonzero(splits == "train")
    classes, counts = np.unique(labels[rows], return_counts=True)
    rank = generator.permutation(len(classes))
    order = generator.permutation(len(rows))
    keep = splits != "train"
    for name, place in zip(classes, rank, strict=True):
        n = round(counts.min() * float(value) ** (-place / max(len(classes) - 1, 1)))
        own = rows[order][labels[rows[order]] == name]
        keep[own[: max(n, 1)]] = True
    return world.keep(keep)


def source_distance(world: World, value: Value, generator: np.random.Generator) -> World:
    """Move training and validation images away from the test images, as if another source had taken them.

    Every feature is shifted by `value` standard normal draws of its spread inside classes (over training images), the
    same shift for all images: another camera or light. A larger distance goes further in the same direction.
    """
    labels, splits = world.labels, world.prepared.manifest.splits
    training = splits == "train"
    vectors = world.features[training].astype(np.float64)
    _, place = np.unique(labels[training], return_inverse=True)
    sums = np.zeros((place.max() + 1, vectors.shape[1]))
    np.add.at(sums, place, vectors)
    spread = (vectors - (sums / np.bincount(place)[:, None])[place]).std(axis=0)
    shift = float(value) * spread * generator.normal(size=len(spread))
    moved = np.where((splits != "test")[:, None], world.features + shift, world.features)
    return replace(world, features=moved.astype(world.features.dtype))


def from_sources(world: World, value: Value, generator: np.random.Generator) -> World:
    """Learn from images of the sources that test images have (`same`), or of the other ones (`other`).

    Either way every class keeps as many training and as many validation images, drawn at random, so that the source
    alone differs.

    Raises
    ------
    ValueError
        If the manifest's column `source` doesn't give every class training images of both kinds.
    """
    manifest = world.prepared.manifest
    labels, splits = world.labels, manifest.splits
    named = manifest.table.get("source")
    sources = np.full(len(labels), "") if named is None else named.to_numpy().astype(str)
    same = np.isin(sources, np.unique(sources[splits == "test"]))
    order, keep = generator.permutation(len(labels)), splits == "test"
    for label in np.unique(labels):
        for split in ("train", "val"):
            rows = order[(labels[order] == label) & (splits[order] == split)]
            kinds = {"same": rows[same[rows]], "other": rows[~same[rows]]}
            n = min(len(each) for each in kinds.values())
            if split == "train" and not n:
                raise ValueError(
                    "The axis sources needs, of every class, training images from sources of test images and from "
                    f"others, told apart by the manifest's column `source`. Without one of both: {str(label)!r}."
                )
            keep[kinds[str(value)][:n]] = True
    return world.keep(keep)


def macros_from(world: World, value: Value, generator: np.random.Generator) -> World:
    """Take the macros that are learned, those that a person brings, or random ones of the same sizes as these.

    Raises
    ------
    ValueError
        If the brought ones are asked for and there are none.
    """
    if value == "learned":
        hierarchy = world.settings.hierarchy.model_copy(update={"file": None, "column": None, "given": None})
        settings = world.settings.model_copy(update={"hierarchy": hierarchy})
        return replace(world, hierarchy=None, settings=settings)
    if value == "brought":
        if world.hierarchy is None:
            raise ValueError("Nobody brings macros. Name them: --hierarchy FILE or --hierarchy-column NAME.")
        return world
    return replace(world, hierarchy=world.known.same_sizes_at_random(int(generator.integers(2**31))))


register_axis(
    Axis(
        "labels", "fine labels per class in training", fewer_labels, lambda value: value != ALL, (ALL,),
        (1, np.inf), whole=True,
    )
)  # fmt: skip
register_axis(
    Axis(
        "classes", "classes, drawn at random", fewer_classes, lambda value: value != ALL, (ALL,), (3, np.inf),
        whole=True,
    )
)  # fmt: skip
register_axis(
    Axis(
        "noise-inside", "share of wrong labels inside macros", noise_inside, lambda value: value != 0,
        numbers=(0, 0.9),
    )
)  # fmt: skip
register_axis(
    Axis(
        "noise-across", "share of wrong labels across macros", noise_across, lambda value: value != 0,
        numbers=(0, 0.9),
    )
)  # fmt: skip
register_axis(
    Axis(
        "imbalance", "images of the most frequent class over the rarest one's", imbalanced,
        lambda _value: True, numbers=(1, np.inf),
    )
)  # fmt: skip
register_axis(
    Axis(
        "source-distance", "planted distance of the training from the test source, in spreads inside classes",
        source_distance, lambda value: value != 0, numbers=(0, np.inf),
    )
)  # fmt: skip
register_axis(
    Axis(
        "sources", "sources of training images, beside those of test images", from_sources, lambda _value: True,
        ("same", "other"), (1, 0),
    )
)  # fmt: skip
register_axis(
    Axis(
        "macros", "where the macros come from", macros_from, lambda value: value == "random",
        ("learned", "brought", "random"), (1, 0),
    )
)  # fmt: skip
