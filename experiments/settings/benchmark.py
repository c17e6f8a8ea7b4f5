"""Settings of a benchmark: frozen, validated where they enter."""

from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.rules import NEEDS, parse_rule
from aisles.models.fine_tuning.settings import FineTuningSettings, Head, Section

FULL = (
    "flat", "ensemble", "hard", "soft", "beam:2", "threshold:0.1", "implied", "hie", "masked", "random", "logistic",
    "hiclass", "discriminant", "flat-discriminant",
)  # fmt: skip
"""Methods of a full study; those of the quick one are the defaults of `ComparisonSettings`."""
OTHER_METHODS = ("flat", "ensemble", "random", "logistic", "hiclass", "discriminant", "flat-discriminant")
OTHER_HIERARCHIES = ("column", "file", "backbone")
FLAT_TUNED, FLAT_TUNED_AGAIN = "flat-tuned", "flat-tuned-again"
ENSEMBLES = {
    "flat-tuned-ensemble": ("trunk:separate", FLAT_TUNED),
    "flat-tuned-again-ensemble": ("trunk:separate-from-flat", FLAT_TUNED_AGAIN),
}
"""Flat ensembles of fine-tuned networks: whose prediction cost they have, and what their members are."""
BASELINES = {
    FLAT_TUNED_AGAIN: FLAT_TUNED, "trunk:tuned": FLAT_TUNED,
    "trunk:separate": FLAT_TUNED, "trunk:separate-from-flat": FLAT_TUNED_AGAIN,
    **{name: trunk for name, (trunk, _) in ENSEMBLES.items()},
}  # fmt: skip
"""Methods judged against another one than `flat`: a flat model fine-tuned alike, or what costs as much."""
FINE_TUNED = (FLAT_TUNED, *BASELINES)
"""Methods with networks fine-tuned on the images, whoever needs another one after it."""


class DataSettings(Section):
    """What happens to the images before any model sees them."""

    label_column: str = Field(default="label", description="The manifest's column with the class.")
    note: str = Field(
        default="",
        description="What readers must know about the images; the report says it under the verdict.",
    )
    strict: bool = Field(default=False, description="Fail on unreadable images instead of leaving them out.")
    split_seed: int = Field(default=0, description="Which products go to which split.")
    split_by: Literal["product", "image"] = Field(
        default="product",
        description="image lets photographs of one product fall into several splits, which leaks and is there to show "
        "how much. A manifest's splits are kept if products cross them already, else new ones are made.",
    )
    resplit: bool = Field(default=False, description="Make new splits where the manifest brings some.")
    min_similarity: float | None = Field(
        default=None,
        description="Leave out training images from secondary listing photographs (source `other`) below this "
        "similarity to the main one.",
    )
    train_share: float = Field(default=0.64, gt=0, description="Share of training images in new splits.")
    val_share: float = Field(default=0.16, gt=0, description="Share of validation images in new splits.")
    test_share: float = Field(
        default=0.2, gt=0, description="Share of test images in new splits; shares need not sum to 1."
    )

    @property
    def shares(self) -> dict[str, float]:
        """Shares by split; they need not sum to 1."""
        return {"train": self.train_share, "val": self.val_share, "test": self.test_share}


class BackboneSettings(Section):
    """Which pretrained network turns pixels into features."""

    name: Literal["efficientnet_lite0", "inception_v3", "vgg16"] = Field(
        default="efficientnet_lite0", description="The network."
    )
    weights: str = Field(
        default="imagenet", description="imagenet, none (random weights), or a file of weights."
    )
    input_size: tuple[int, int] | None = Field(
        default=None, description="(height, width) in pixels; the network's own unless given."
    )
    color: Literal["rgb", "gray"] = Field(default="rgb", description="gray shows it luma alone.")
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="What features are computed in."
    )
    batch_size: int = Field(default=32, ge=1, description="Images per pass.")


class HierarchySettings(Section):
    """How classes become macro-categories: clustered, or brought as `file`, `column` or `given`."""

    macros: int | Literal["auto"] = Field(
        default="auto",
        description="Number of macro-categories, or auto: chosen by silhouette of the training images' class "
        "embeddings, half as many as classes where there are at most 5.",
    )
    linkage: Literal["ward", "average", "complete"] = Field(
        default="ward", description="How the distance of two groups of classes is measured."
    )
    file: str | None = Field(default=None, description="A hierarchy of your own: a JSON file.")
    column: str | None = Field(
        default=None,
        description="A hierarchy of your own: the manifest's column that names each image's macro-category. Every "
        "class must come with one name in it.",
    )
    given: dict[str, tuple[str, ...]] | None = Field(
        default=None, description="A hierarchy of your own: classes by macro-category."
    )
    independent: str = Field(
        default="auto",
        description="The manifest's column with a grouping that nobody learned from these images, on which the "
        "distance of mistakes is measured too; auto: the first extra column that groups the classes; none: without.",
    )
    bootstraps: int = Field(
        default=20, ge=1, description="Resamples of the images for the hierarchy's stability."
    )

    @field_validator("macros")
    @classmethod
    def _at_least_two(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 2:
            raise ValueError("there must be at least 2 macros, or 'auto'")
        return value

    @field_validator("given", mode="before")
    @classmethod
    def _as_table(cls, value: Any) -> Any:
        return dict(zip(value.macros, value.members, strict=True)) if isinstance(value, Hierarchy) else value

    @model_validator(mode="after")
    def _brought_once(self) -> Self:
        brought = [name for name in ("file", "column", "given") if getattr(self, name) is not None]
        if len(brought) > 1:
            raise ValueError(
                f"a hierarchy is brought once, as a file, as a column of the manifest or as given, not as "
                f"{' and '.join(brought)}"
            )
        if self.given is not None:
            _ = self.brought
        return self

    @property
    def brought(self) -> Hierarchy | None:
        """The hierarchy of `given`."""
        if self.given is None:
            return None
        return Hierarchy(tuple(self.given), tuple(self.given.values()))


class TrainingSettings(Section):
    """How every head on features is trained; the same for all methods."""

    head: Head = Field(default="v1.3", description="Layers on the backbone's features, by version.")
    epochs: int = Field(default=100, ge=1, description="At most so many epochs.")
    patience: int = Field(
        default=10,
        ge=1,
        description="Epochs without a lower validation loss after which training stops; the best weights are kept.",
    )
    learning_rate: float = Field(default=3e-4, gt=0, description="Adam's learning rate.")
    batch_size: int = Field(default=32, ge=1, description="Images per step.")
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="Share of the probability spread evenly over all labels."
    )
    class_weights: bool = Field(
        default=False, description="Weight each image by n_images / (n_labels * images of its label)."
    )
    refit: bool = Field(
        default=True,
        description="Train once more on training and validation images, for the epochs that validation chose.",
    )


class ComparisonSettings(Section):
    """Who is compared, and how; named before anything is measured.

    Methods are `flat`; routing rules (`soft`, `hard`, `beam:2`, `threshold:0.1`, `implied`, `hie`, `masked`);
    `ensemble` (as many flat heads as the two-stage classifier has heads, averaged); `random` (random partitions of
    the same sizes, under the primary rule); `discriminant` (the router that flat implies, and a linear discriminant a
    macro) and `flat-discriminant` (its flat baseline of the same cost); `logistic` and `hiclass` (other libraries on
    the same features); other hierarchies under the primary rule: `column:NAME` of the manifest, `file:PATH`,
    `backbone:NAME` or `backbone:NAME:gray` (learned from that backbone's features, while the heads keep the study's);
    and networks fine-tuned on the images: `flat-tuned` and, under the primary rule, `trunk:tuned`, `trunk:separate`
    and `trunk:separate-from-flat`, judged against `flat-tuned`, the last one against `flat-tuned-again`, which was
    fine-tuned twice as well. As the separate ones pass an image through several networks, they also meet as many flat
    ones, averaged: `flat-tuned-ensemble` and `flat-tuned-again-ensemble`. All these baselines take part unasked.
    """

    methods: tuple[str, ...] = Field(
        default=("flat", "hard", "soft", "implied", "hie", "masked"), description="What is compared, by name."
    )
    seeds: int = Field(default=3, ge=1, description="How many training seeds.")
    margin: float = Field(
        default=0.01, gt=0, lt=1, description="Differences of accuracy below this count as equivalent."
    )
    alpha: float = Field(default=0.05, gt=0, lt=0.5, description="Level of tests and intervals.")
    primary: str = Field(
        default="soft", description="The routing rule that the verdict is about, pre-specified."
    )
    random_partitions: int = Field(
        default=5, ge=1, description="Random hierarchies of the same sizes, for the method `random`."
    )

    @field_validator("methods")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            _check_method(name)
        if len(set(names)) < len(names):
            raise ValueError("every method may be named once")
        return names

    @field_validator("primary")
    @classmethod
    def _answers_with_classes(cls, rule: str) -> str:
        if parse_rule(rule).name == "climb":
            raise ValueError("climb answers at two levels; the primary rule must answer with classes")
        return rule

    @property
    def everyone(self) -> tuple[str, ...]:
        """The methods' names, flat, the primary rule and everybody's baselines among them in any case."""
        names = dict.fromkeys(("flat", *self.methods, self.primary))
        ensembles = {trunk: name for name, (trunk, _) in ENSEMBLES.items()}
        wanted, todo = set(), list(names)
        while todo:
            name = todo.pop()
            wanted.add(name)
            met = (BASELINES.get(name), ensembles.get(name))
            todo += [other for other in met if other is not None and other not in wanted]
        others = (name for name in names if name not in FINE_TUNED)
        return (*others, *(name for name in FINE_TUNED if name in wanted))


class SweepSettings(Section):
    """Which cuts of the tree a sweep tries, each with the primary rule."""

    macros: tuple[int, ...] = Field(default=tuple(range(2, 13)), description="Numbers of macros.")
    linkages: tuple[Literal["ward", "average", "complete"], ...] = Field(
        default=("ward",), description="Linkages."
    )


class BenchmarkSettings(Section):
    """Everything that decides a benchmark, apart from the images."""

    command: ClassVar[str] = "benchmark"

    data: DataSettings = DataSettings()
    backbone: BackboneSettings = BackboneSettings()
    hierarchy: HierarchySettings = HierarchySettings()
    training: TrainingSettings = TrainingSettings()
    comparison: ComparisonSettings = ComparisonSettings()
    sweep: SweepSettings = SweepSettings()
    fine_tuning: FineTuningSettings = FineTuningSettings()


def with_all_methods(settings: BenchmarkSettings) -> BenchmarkSettings:
    """Return the settings with every method that can run here (HiClass only if it is installed) added."""
    outside = () if find_spec("hiclass") else ("hiclass",)
    names = (*settings.comparison.methods, *(name for name in FULL if name not in outside))
    comparison = settings.comparison.model_copy(update={"methods": tuple(dict.fromkeys(names))})
    return settings.model_copy(update={"comparison": comparison})


def _check_method(name: str) -> None:
    kind, _, rest = name.partition(":")
    if name in OTHER_METHODS or name in FINE_TUNED or (kind in OTHER_HIERARCHIES and rest):
        return
    if kind not in NEEDS:
        others = (*OTHER_METHODS, *FINE_TUNED, *(rule for rule in NEEDS if rule != "climb"))
        meant = get_close_matches(name, others, n=1)
        raise ValueError(
            f"{name!r} is no method. {f'Did you mean {meant[0]}? ' if meant else ''}There are: "
            f"{', '.join(others)}; column:NAME, file:PATH, backbone:NAME"
        )
    rule = parse_rule(name)
    if rule.name == "climb":
        raise ValueError(
            "climb answers at two levels; its metrics belong to soft, it is no method of its own"
        )


def explained_difference(before: BenchmarkSettings, after: BenchmarkSettings) -> list[str]:
    """List the settings that differ and matter, as `section.key: before -> after`."""
    old, new = before.model_dump(), after.model_dump()
    del new["data"]["note"]
    if not any(name in FINE_TUNED for s in (before, after) for name in s.comparison.everyone):
        del new["fine_tuning"]
    return [
        f"{section}.{key}: {old[section][key]} -> {value}"
        for section, values in new.items()
        for key, value in values.items()
        if old[section][key] != value
    ]
