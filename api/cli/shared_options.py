"""What the commands share: errors to exit codes, options for settings, JSON."""

import json
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

EXIT_DATA, EXIT_WEIGHTS = 3, 4


class Commands(click.Group):
    """A group that turns the library's errors into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a mistake of the user's is explained, not traced."""
        try:
            return super().invoke(ctx)
        except (ValueError, OSError) as error:
            raise _fault(error) from error


class ModelCommand(click.Command):
    """A command that needs TensorFlow, which is loaded once the arguments are found right, and without its talk."""

    def invoke(self, ctx: click.Context) -> Any:
        """Load TensorFlow and run the command."""
        from aisles.models.tensorflow_loading import load_quietly

        load_quietly()
        return super().invoke(ctx)


class _DataFault(click.ClickException):
    exit_code = EXIT_DATA


class _WeightsFault(click.ClickException):
    exit_code = EXIT_WEIGHTS


def _fault(error: Exception) -> click.ClickException:
    from aisles.data_prep.io.errors import DataError

    if isinstance(error, DataError):
        return _DataFault(str(error))
    # By name, for a class of the models would bring Keras with it.
    if "WeightsMissingError" in {type_.__name__ for type_ in type(error).__mro__}:
        return _WeightsFault(str(error))
    return click.ClickException(str(error))


def settings_options(command: Callable) -> Callable:
    """Add the options that make a study's settings; the command gets `settings` and `cache`."""
    options = [
        click.option("--config", help="Settings: a TOML file, or a recipe such as grocery-study."),
        click.option(
            "--set", "changes", multiple=True, metavar="SECTION.KEY=VALUE", help="Change one setting."
        ),
        click.option("--macros", help="Number of macro-categories, or auto.  [default: 5]"),
        click.option("--hierarchy", type=click.Path(), help="A hierarchy of your own, as JSON."),
        click.option("--linkage", type=click.Choice(["ward", "average", "complete"]), help="[default: ward]"),
        click.option("--seeds", type=click.IntRange(1), help="How many seeds.  [default: 3]"),
        click.option(
            "--backbone", help="efficientnet_lite0, inception_v3 or vgg16.  [default: efficientnet_lite0]"
        ),
        click.option("--weights", help="imagenet, none or a file.  [default: imagenet]"),
        click.option("--color", type=click.Choice(["rgb", "gray"]), help="[default: rgb]"),
        click.option("--precision", type=click.Choice(["float32", "bfloat16"]), help="[default: float32]"),
        click.option("--label-column", help="The manifest's column with the class.  [default: label]"),
        click.option("--strict", is_flag=True, help="Fail on unreadable images instead of leaving them out."),
        click.option("--cache", type=click.Path(path_type=Path), help="Folder for cached features."),
    ]

    @wraps(command)
    def with_settings(
        config, changes, macros, hierarchy, linkage, seeds, backbone, weights, color, precision, label_column, strict,
        **others,
    ):  # fmt: skip
        from aisles.experiments.settings.benchmark import read_settings

        values = {
            "hierarchy.macros": macros,
            "hierarchy.file": hierarchy,
            "hierarchy.linkage": linkage,
            "comparison.seeds": seeds,
            "backbone.name": backbone,
            "backbone.weights": weights,
            "backbone.color": color,
            "backbone.precision": precision,
            "data.label_column": label_column,
            "data.strict": "true" if strict else None,
        }
        given = [f"{key}={_toml(value)}" for key, value in values.items() if value is not None]
        try:
            settings = read_settings(config, [*given, *changes])
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        return command(settings=settings, **others)

    for option in reversed(options):
        with_settings = option(with_settings)
    return with_settings


def checked_rule(_context: click.Context, _option: click.Parameter, rule: str | None) -> str | None:
    """Refuse a routing rule that there isn't, before anything is loaded; `climb` alone is a guarantee's."""
    from aisles.hierarchy.rules import parse_rule

    if rule is not None and rule != "climb":
        try:
            parse_rule(rule)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error
    return rule


def _toml(value: Any) -> str:
    text = str(value)
    return text if text in ("true", "false") or text.lstrip("-").isdigit() else json.dumps(text)


def as_json(content: Any) -> str:
    """Write JSON for stdout."""
    return json.dumps(content, indent=1, ensure_ascii=False, default=str)
