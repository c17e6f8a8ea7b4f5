"""`aisles.benchmark` and `aisles.train`: Python says what the command line says, in the same words."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aisles.data_prep.images.features_table import FeaturesTable
    from aisles.experiments.benchmark.run import BenchmarkResult
    from aisles.experiments.training.runs import TrainResult

GIVEN = "hierarchy.given"


def benchmark(
    data: "str | Path | FeaturesTable | Any",
    output: str | Path,
    *,
    y: Any = None,
    products: Any = None,
    splits: Any = None,
    file_names: Any = None,
    settings: Any = None,
    preset: str | None = None,
    backbone: Any = None,
    cache: str | Path | None = None,
    jobs: int | None = None,
    scheduler: str | None = None,
    sweep: bool = False,
    resume: bool = False,
    replace: bool = False,
    **named: Any,
) -> "BenchmarkResult":
    """Compare flat and two-stage on a folder of labelled photographs.

    Stages that were made from the same inputs are not made again, so a killed run goes on where it stopped.

    Parameters
    ----------
    data : path, FeaturesTable or array-like of shape (n, d)
        A manifest, a folder of class folders or a features table; or features, one row per image, with `y`.
    output : path
        The run folder.
    y, products, splits, file_names : array-like of shape (n,), optional
        With features: classes, and what `aisles.FeaturesTable.from_arrays` takes beside them.
    settings : Settings, mapping or path, optional
        `aisles.Settings`, a mapping of `section.key` (or of sections) to values, or a TOML file.
    preset : str, optional
        Settings of the package; what else is given is laid over them.
    backbone : str or Backbone, optional
        The setting `backbone.name`, or a backbone of your own.
    cache : path, optional
        Folder for cached features.
    jobs : int, optional
        Processes that train heads; by default as many as there are processors, where it pays.
    scheduler : str, optional
        A Dask cluster that extracts features and trains in their place.
    sweep : bool
        Whether to try the cuts that `sweep.macros` names, too.
    resume : bool
        Refuse to start anew: there must be a run in the folder.
    replace : bool
        Replace the results of other settings or images, which is refused otherwise.
    **named
        Settings by their option's name (`macros="auto"`, `label_column="type"`) or their own where only one section
        has it (`methods=["soft", "hie"]`). `hierarchy` is a path, an `aisles.Hierarchy`, or classes by macro.

    Returns
    -------
    BenchmarkResult

    Raises
    ------
    ValueError
        For a setting that there is not, or a value out of range.
    """
    from aisles.experiments.benchmark.run import run_benchmark
    from aisles.experiments.settings.benchmark import BenchmarkSettings

    own, named = _own_backbone(backbone, named)
    data = _features(data, y, products=products, splits=splits, file_names=file_names)
    return run_benchmark(
        data, output, make_settings(BenchmarkSettings, settings, named, preset=preset), backbone=own, cache=cache,
        jobs=jobs, scheduler=scheduler, sweep=sweep, resume=resume, replace=replace,
    )  # fmt: skip


def train(
    data: str | Path,
    output: str | Path,
    *,
    settings: Any = None,
    preset: str | None = None,
    backbone: Any = None,
    cache: str | Path | None = None,
    **named: Any,
) -> "TrainResult":
    """Train a flat or two-stage classifier on images; run again, it goes on where it stopped.

    Parameters
    ----------
    data, output, settings, preset, backbone, cache, **named
        As in `aisles.benchmark`; the settings are those of `aisles train`, such as `model="flat"`,
        `sharing="separate"`, `augment=True`, `tuned_epochs=10`.

    Returns
    -------
    TrainResult

    Raises
    ------
    ValueError
        For a setting that there is not, or a value out of range.
    """
    from aisles.experiments.settings.training import TrainSettings
    from aisles.experiments.training.runs import train_classifier

    own, named = _own_backbone(backbone, named)
    chosen = make_settings(TrainSettings, settings, named, preset=preset)
    return train_classifier(data, output, chosen, backbone=own, cache=cache)


def _features(data: Any, y: Any, **columns: Any) -> Any:
    """Make a features table of arrays; a path or a table is data already."""
    from aisles.data_prep.images.features_table import FeaturesTable

    named = [name for name, values in {"y": y, **columns}.items() if values is not None]
    if isinstance(data, str | Path | FeaturesTable):
        if named:
            raise ValueError(
                f"`{named[0]}` goes with features as an array. Received with it: {type(data).__name__}, which holds "
                "its own columns."
            )
        return data
    if y is None:
        raise ValueError(
            f"`data` is a path, a FeaturesTable, or features of shape (n, d) with their classes as `y`. Received: "
            f"{type(data).__name__} and no y."
        )
    return FeaturesTable.from_arrays(data, y, **columns)


def make_settings(kind: Any, settings: Any, named: Mapping[str, Any], *, preset: str | None = None) -> Any:
    """Lay keywords over settings.

    Parameters
    ----------
    kind : type
        `BenchmarkSettings` or `TrainSettings`.
    settings : record, mapping, path or None
    named : mapping of str to value
        Settings by their short names.
    preset : str, optional

    Returns
    -------
    record of `kind`

    Raises
    ------
    ValueError
        For a name that is no setting's or several settings', or a value out of range.
    """
    from pydantic import BaseModel

    from aisles.experiments.settings.reading import read_settings

    changes = [_placed(name, value, short_names(kind), kind.command) for name, value in named.items()]
    if isinstance(settings, BaseModel):
        if not isinstance(settings, kind):
            raise ValueError(f"`settings` must be {kind.__name__}. Received: {type(settings).__name__}.")
        if preset is not None:
            raise ValueError("Give a preset or whole settings, not both: the settings would replace it all.")
        return (
            read_settings(None, [*_flattened(settings.model_dump()), *changes], kind) if changes else settings
        )
    if isinstance(settings, Mapping):
        return read_settings(None, [*_flattened(settings), *changes], kind, preset=preset)
    return read_settings(settings, changes, kind, preset=preset)


def short_names(kind: Any) -> dict[str, tuple[str, ...]]:
    """Return the settings that each short name may mean: an option's first, else a key's in every section."""
    from aisles.cli.options import options_of
    from aisles.experiments.settings.listing import list_settings

    found: dict[str, tuple[str, ...]] = {}
    for setting in list_settings(kind):
        key = setting.name.rpartition(".")[2]
        found[key] = (*found.get(key, ()), setting.name)
    return found | {option.keyword: (option.setting,) for option in options_of(kind.command)}


def _placed(name: str, value: Any, known: Mapping[str, tuple[str, ...]], command: str) -> tuple[str, Any]:
    if name not in known:
        meant = get_close_matches(name, known, n=1)
        raise ValueError(
            f"{name!r} is not a setting of {command}. {f'Did you mean {meant[0]}? ' if meant else ''}"
            f"All of them: aisles settings {command}."
        )
    if len(known[name]) > 1:
        raise ValueError(
            f"{name!r} stands in several sections. Write settings={{{known[name][0]!r}: ...}}; there are: "
            f"{', '.join(known[name])}."
        )
    (setting,) = known[name]
    if setting == "hierarchy.file" and value is not None and not isinstance(value, str | Path):
        return GIVEN, value
    return setting, str(value) if isinstance(value, Path) else value


def _flattened(settings: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """List `section.key` and value, whichever way a mapping is written."""
    for name, value in settings.items():
        if "." not in name and isinstance(value, Mapping):
            yield from ((f"{name}.{key}", inner) for key, inner in value.items())
        else:
            yield name, value


def _own_backbone(backbone: Any, named: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return whether it is a backbone of one's own, not the name of one."""
    if backbone is None or not isinstance(backbone, str):
        return backbone, dict(named)
    return None, {"backbone": backbone, **named}
