"""The recipe of a curated data set: data, not code."""

import tomllib
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from aisles.data_prep.io.errors import DataError
from aisles.data_prep.io.settings_errors import explained

RECIPES = Path(__file__).parent / "recipes"
Cosine = Annotated[float, Field(ge=-1, le=1)]
AuditFault = Literal["texture", "text", "room"]


class _Settings(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid", strict=False)


class Synonym(_Settings):
    """Two names of one thing: what becomes of the narrower one."""

    narrow: str
    wide: str
    action: Literal["drop", "merge"] = "drop"


class Confusable(_Settings):
    """Classes that look alike: kept apart, or merged into the first."""

    classes: tuple[str, ...] = Field(min_length=2)
    action: Literal["keep", "merge"] = "keep"


class Selecting(_Settings):
    """Which product types become classes.

    `minimum` counts listings of a type (after merging); `maximum_shared` is how many products one image may
    hang on before it is boilerplate.
    """

    minimum: int = Field(150, ge=1)
    cap: int = Field(400, ge=1)
    maximum_shared: int = Field(50, ge=1)
    generics: tuple[str, ...] = ()
    synonyms: tuple[Synonym, ...] = ()
    confusable: tuple[Confusable, ...] = ()

    @model_validator(mode="after")
    def _one_way(self) -> "Selecting":
        merged = [s.narrow for s in self.synonyms] + [
            name for c in self.confusable if c.action == "merge" for name in c.classes[1:]
        ]
        twice = sorted({name for name in merged if merged.count(name) > 1})
        targets = [s.wide for s in self.synonyms if s.action == "merge"]
        targets += [c.classes[0] for c in self.confusable if c.action == "merge"]
        chained = sorted(set(merged) & set(targets))
        if twice or chained:
            raise ValueError(
                f"Each class can be dropped or merged once, and not into one that goes away itself. "
                f"In conflict: {twice + chained}."
            )
        return self


class Threshold(_Settings):
    """From which similarity on an image is kept, with exceptions by class."""

    default: Cosine
    exceptions: dict[str, Cosine] = Field(default_factory=dict)

    def of(self, label: str) -> float:
        """Return the threshold of a class."""
        return self.exceptions.get(label, self.default)


class Similarity(_Settings):
    """Which backbone compares other images with their product's main image, and the thresholds."""

    backbone: str = "vgg16"
    thresholds: dict[str, Threshold]

    def threshold(self, backbone: str | None = None) -> Threshold:
        """Return the thresholds of a backbone; they mean nothing for another one.

        Raises
        ------
        DataError
            If the recipe has none for it.
        """
        name = backbone or self.backbone
        if name not in self.thresholds:
            raise DataError(
                f"The recipe has no similarity threshold for the backbone {name!r}, only for "
                f"{sorted(self.thresholds)}. Find one with `aisles data calibrate --backbone {name}` and set "
                f"similarity.thresholds.{name}.default."
            )
        return self.thresholds[name]


class Splitting(_Settings):
    """How the images are divided.

    `product` never lets a product cross splits. `leaky` is the published study's random split by image: views
    of one product land on both sides, so its test metrics are too good; it is there to measure by how much.
    Near-duplicates are not looked for (`off`), reported where they cross (`report`), or tied into one product
    (`join`); then groups of more than `duplicates.MAX_GROUP` of them, which are boilerplate, are left out and the
    classes filled from the rest, for which every image is compared.
    """

    method: Literal["product", "leaky"] = "product"
    shares: dict[Literal["train", "val", "test"], Annotated[float, Field(ge=0)]] = Field(
        default_factory=lambda: {"train": 0.64, "val": 0.16, "test": 0.2}
    )
    seed: int = Field(0, ge=0)
    near_duplicates: Literal["off", "report", "join"] = "report"

    @field_validator("shares")
    @classmethod
    def _something(cls, shares: dict) -> dict:
        if not shares.get("train"):
            raise ValueError("shares need a positive share for train")
        return shares


class Auditing(_Settings):
    """Whether images are audited, which flagged ones are left out, and in which classes never.

    The published study left none out. Excluding a fault implies the audit.
    """

    report: bool = False
    exclude: tuple[AuditFault, ...] = ()
    spare: tuple[str, ...] = ("RUG",)


class Recipe(_Settings):
    """Everything that decides which images a curated data set has."""

    name: str
    selection: Selecting
    similarity: Similarity
    split: Splitting = Field(default_factory=lambda: Splitting.model_validate({}))
    audit: Auditing = Field(default_factory=Auditing)


def packaged_recipes() -> tuple[str, ...]:
    """List the names of the recipes that come with the program, sorted."""
    return tuple(sorted(path.stem for path in RECIPES.glob("*.toml")))


def load_recipe(name: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe.

    Parameters
    ----------
    name : str or Path
        The name of a packaged recipe, or a TOML file.
    overrides : mapping of str to anything, optional
        Settings to change, by dotted key: `{"selection.cap": 200}`. A text is read as a TOML value where
        it is one, so that `"200"` is a number.

    Returns
    -------
    Recipe
        Frozen and checked.

    Raises
    ------
    DataError
        If there is no such recipe, it is no TOML, or a key is unknown or has a value that makes no sense.
    """
    packaged = RECIPES / f"{name}.toml"
    path = packaged if str(name) in packaged_recipes() else Path(name)
    try:
        settings = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise DataError(
            f"There is no recipe {str(name)!r}: neither a file nor one of {', '.join(packaged_recipes())}."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not TOML: {error}.") from error
    settings.setdefault("name", path.stem)
    for key, value in (overrides or {}).items():
        _set(settings, key, value)
    try:
        return Recipe.model_validate(settings)
    except ValidationError as error:
        raise DataError(f"Recipe {str(name)!r}: {explained(error, Recipe)}") from error


def unknown_names(recipe: Recipe, threshold: Threshold, known: Collection[str]) -> list[str]:
    """Return the classes that a recipe names and a catalogue doesn't have.

    Parameters
    ----------
    recipe : Recipe
    threshold : Threshold
        The one of its thresholds that is used.
    known : collection of str
        The catalogue's product types.

    Returns
    -------
    list of str
        Sorted; with what was probably meant, where there is something near.
    """
    selection = recipe.selection
    named = {*selection.generics, *threshold.exceptions}
    named |= {name for synonym in selection.synonyms for name in (synonym.narrow, synonym.wide)}
    named |= {name for confusable in selection.confusable for name in confusable.classes}
    named |= set(recipe.audit.spare if recipe.audit.exclude else ())
    near = {name: get_close_matches(name.upper(), known, n=1) for name in sorted(named - set(known))}
    return [f"{name} (did you mean {meant[0]}?)" if meant else name for name, meant in near.items()]


def _set(settings: dict, key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        settings = settings.setdefault(parent, {})
        if not isinstance(settings, dict):
            raise DataError(f"{key!r}: {parent!r} is a value, not a section of the recipe.")
    settings[last] = _toml_value(value) if isinstance(value, str) else value


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        return text
