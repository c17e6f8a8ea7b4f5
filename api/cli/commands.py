"""What the commands share: errors to exit codes, TensorFlow loaded late, JSON."""

import json
import logging
import os
import shlex
import sys
from typing import Any

import click

from .help_pages import write_commands, write_options, write_text
from .options import read_given

QUIET = "Print only results, warnings and errors."
EXIT_DATA, EXIT_WEIGHTS = 3, 4


class Command(click.Command):
    """A command that also takes the options of `aisles` itself, and reads its settings before it runs."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        quiet = click.Option(["--quiet"], is_flag=True, expose_value=False, callback=_hush, help=QUIET)
        self.params.append(quiet)

    def invoke(self, ctx: click.Context) -> Any:
        """Read the settings that the options make, and run the command."""
        wanted = getattr(self.callback, "settings_of", None)
        if wanted is not None:
            command, without = wanted
            ctx.params["settings"] = read_given(command, without, ctx.params)
        self.load()
        return super().invoke(ctx)

    def load(self) -> None:
        """Load what the command needs."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples first."""
        write_text(self, formatter)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options in groups."""
        write_options(self, ctx, formatter)


class ModelCommand(Command):
    """A command that needs TensorFlow, which is loaded once the arguments are found right, and without its logs."""

    def load(self) -> None:
        """Load TensorFlow."""
        from aisles.models.tensorflow_loading import load_quietly

        load_quietly()


class Commands(click.Group):
    """A group that turns the library's errors into one line and an exit code."""

    command_class: type[click.Command] | None = Command

    def __init__(self, *args: Any, sections: dict[str, tuple[str, ...]] | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.sections: dict[str, tuple[str, ...]] = sections or {}

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples first."""
        write_text(self, formatter)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, those that most people need first, then the options."""
        write_commands(self, ctx, formatter, self.sections)
        write_options(self, ctx, formatter)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a mistake of the user's is explained, not traced, and no answer is lost silently."""
        if sys.stdout is None:
            raise click.ClickException(
                "Standard output is closed, so results would be lost. Send it to a file, or to /dev/null."
            )
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except (ValueError, OSError) as error:
            if isinstance(error, OSError):
                _drop_waiting_output()
            if isinstance(error, BrokenPipeError):
                sys.exit(1)  # quietly: whoever reads our output has seen enough, as `| head` does
            raise _fault(error) from error
        except Exception as error:
            if not isinstance(error, MemoryError) and type(error).__name__ != "ResourceExhaustedError":
                raise
            raise click.ClickException(
                "There is too little memory. Lower --batch-size, and --resident where there is one; or free memory."
            ) from error


def _drop_waiting_output() -> None:
    """Send what can't be written nowhere, so that the interpreter doesn't fail on it once more when it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run_plugins(_context: click.Context, _option: click.Parameter, files: tuple[str, ...]) -> None:
    if not files:
        return
    from aisles.hierarchy.registry import PluginError, load_plugins

    try:
        load_plugins(files)
    except PluginError as error:
        raise click.BadParameter(str(error)) from error


engine_option = click.option(
    "--engine",
    type=click.Choice(("auto", "tensorflow", "onnx")),
    default="auto",
    show_default=True,
    help="What runs the networks; onnx (onnxruntime) converts them once, auto uses it where that was done.",
)
plugin_option = click.option(
    "--plugin",
    multiple=True,
    type=click.Path(),
    metavar="FILE.py",
    is_eager=True,  # its names must be known before other options are checked
    expose_value=False,
    callback=_run_plugins,
    help="Run a Python file that registers methods, rules and so on of your own; may be repeated.",
)


def _hush(_context: click.Context, _option: click.Parameter, quiet: bool) -> None:
    if quiet:
        logging.getLogger("aisles").setLevel(logging.WARNING)


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


def checked_rule(_context: click.Context, _option: click.Parameter, rule: str | None) -> str | None:
    """Refuse a routing rule that there isn't, before anything is loaded; `climb` alone is a guarantee's."""
    from aisles.hierarchy.rules import parse_rule

    if rule is not None and rule != "climb":
        try:
            parse_rule(rule)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error
    return rule


def as_json(content: Any) -> str:
    """Write JSON for stdout."""
    return json.dumps(content, indent=1, ensure_ascii=False, default=str)


def typed() -> str:
    """Return the command line as it was typed, for those who want to repeat it."""
    return shlex.join(["aisles", *sys.argv[1:]])
