"""Settings of a benchmark: frozen, validated where they enter."""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from aisles.experiments.stats.levels import ALPHA, MARGIN
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.hierarchy.rules import parse_rule
from aisles.models.backbones.definitions import check_backbone
from aisles.models.fine_tuning.settings import FineTuningSettings
from aisles.models.heads.settings import Head, HeadTraining, Section


class DataSettings(Section):
    """What happens to the images before any model sees them."""

    label_column: str = Field(default="label", description="The manifest's column with the class.")
    note: str = Field(
        default="",
        description="What readers must know about the images; the report says it under the verdict.",
    )
    strict: Literal["images", "classes", "no"] = Field(
        default="classes",
        description="What stops: every image that can't be read, a class or folder that loses all its images, or "
        "nothing; what is left out is said in the first lines.",
    )
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

    name: str = Field(
        default="efficientnet_lite0", description="A registered network, or several joined by +."
    )
    weights: str = Field(
        default="imagenet", description="imagenet, none (random weights), or a file of weights."
    )
    input_size: tuple[int, int] | None = Field(
        default=None, description="(height, width) in pixels; the network's own unless given."
    )
    fit: Literal["published", "crop", "squash", "pad"] = Field(
        default="published",
        description="What happens to images of another shape: the center is cut out, both sides are scaled on their "
        "own, or white bars are added; published: as the network was evaluated by its authors.",
    )
    color: Literal["rgb", "gray"] = Field(default="rgb", description="gray shows it luma alone.")
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="Number format in which features are computed."
    )
    engine: Literal["tensorflow", "onnx"] = Field(
        default="tensorflow",
        description="What computes features; onnx: onnxruntime, in float32, for which the network is converted once.",
    )
    batch_size: int = Field(default=32, ge=1, description="Images per pass.")

    @field_validator("input_size")
    @classmethod
    def _has_pixels(cls, size: tuple[int, int] | None) -> tuple[int, int] | None:
        if size is not None and min(size) < 1:
            raise ValueError("height and width must be 1 pixel or more")
        return size

    @field_validator("name")
    @classmethod
    def _registered(cls, name: str) -> str:
        return check_backbone(name)


class HierarchySettings(Section):
    """How classes become macro-categories: clustered, or brought as `file`, `column` or `given`."""

    macros: int | Literal["auto"] = Field(
        default="auto",
        description="Number of macro-categories, or auto: chosen by silhouette of the training images' class "
        "embeddings, at most 12 and at most half as many as classes.",
    )
    linkage: str = Field(
        default="ward",
        description="A registered clustering of the classes: ward, average, complete or your own.",
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

    @field_validator("linkage")
    @classmethod
    def _registered(cls, name: str) -> str:
        from aisles.hierarchy.clustering import check_clustering

        return check_clustering(name)

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


class TrainingSettings(HeadTraining):
    """How every head on features is trained; the same for all methods."""

    head: Head = Field(default="v1.3", description="Layers on the backbone's features, by version.")
    refit: bool = Field(
        default=True,
        description="Train once more on training and validation images, for the epochs that validation chose.",
    )


class ComparisonSettings(Section):
    """Who is compared, and how; named before anything is measured.

    The methods are those of `aisles.experiments.methods.registry`; `aisles benchmark --help` lists them. Baselines, and
    flat ensembles that cost as much as separate fine-tuned networks, take part unasked.
    """

    methods: tuple[str, ...] = Field(
        default=(
            "flat",
            "flat-lda",
            "ensemble",
            "hard",
            "soft",
            "implied",
            "hie",
            "masked",
            "soft:lda",
            "implied:lda",
        ),
        description="What is compared, by name.",
    )
    seeds: int = Field(default=3, ge=1, description="How many training seeds.")
    margin: float = Field(
        default=MARGIN,
        gt=0,
        lt=1,
        description="A difference of accuracy that doesn't matter; equivalent means: shown to be smaller than this.",
    )
    alpha: float = Field(default=ALPHA, gt=0, lt=0.5, description="Level of tests and intervals.")
    primary: str = Field(
        default="soft",
        description="The method that the verdict is about, pre-specified; it must be a routing rule.",
    )
    random_partitions: int = Field(
        default=5, ge=1, description="Random hierarchies of the same sizes, for the method `random`."
    )

    bundles: tuple[str, ...] = Field(
        default=(),
        description="Methods whose models of the first seed are saved for use, besides flat, the primary rule and the "
        "method that validation images prefer.",
    )

    @field_validator("methods")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        from aisles.experiments.methods.registry import find_method

        for name in names:
            find_method(name)
        if len(set(names)) < len(names):
            raise ValueError("every method may be named once")
        return names

    @field_validator("primary")
    @classmethod
    def _answers_with_classes(cls, rule: str) -> str:
        if parse_rule(rule).definition.several_levels:
            raise ValueError("climb answers at two levels; the primary rule must answer with classes")
        return rule

    @model_validator(mode="after")
    def _bundles_can_be_saved(self) -> Self:
        from aisles.experiments.methods.registry import check_savable

        if self.bundles:
            check_savable(self.bundles, self.everyone)
        return self

    @property
    def everyone(self) -> tuple[str, ...]:
        """The methods' names, flat, the primary rule and everybody's baselines among them in any case."""
        from aisles.experiments.methods.registry import FLAT, everyone

        return everyone((FLAT, *self.methods, self.primary))


class SweepSettings(Section):
    """Which cuts of the tree a sweep tries, each with the primary rule."""

    macros: tuple[int, ...] = Field(default=tuple(range(2, 13)), description="Numbers of macros.")
    linkages: tuple[str, ...] = Field(
        default=("ward",), description="Registered clusterings that make trees."
    )

    @field_validator("linkages")
    @classmethod
    def _registered(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        from aisles.hierarchy.clustering import check_clustering

        return tuple(check_clustering(name, tree=True) for name in names)


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
    """Return the settings with every method of a full benchmark that can run here added."""
    from aisles.experiments.methods.registry import full_methods

    names = (*settings.comparison.methods, *full_methods())
    comparison = settings.comparison.model_copy(update={"methods": tuple(dict.fromkeys(names))})
    return settings.model_copy(update={"comparison": comparison})


def explained_difference(before: BenchmarkSettings, after: BenchmarkSettings) -> list[str]:
    """List the settings that differ and matter, as `section.key: before -> after`."""
    from aisles.experiments.methods.registry import fine_tunes

    old, new = before.model_dump(), after.model_dump()
    del new["data"]["note"], new["comparison"]["bundles"]
    if not any(fine_tunes(each.comparison.everyone) for each in (before, after)):
        del new["fine_tuning"]
    return [
        f"{section}.{key}: {old[section][key]} -> {value}"
        for section, values in new.items()
        for key, value in values.items()
        if old[section][key] != value
    ]
