"""Reference pages from the code: a line `<!-- from the code: NAME -->` becomes the table of that name."""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import click

MARK = re.compile(r"^<!-- from the code: (\w+) -->$", re.M)


def commands() -> str:
    """Describe every command with its arguments and options, as `--help` does."""
    from aisles.cli.main import main

    return "\n".join(_command(click.Context(main, info_name="aisles"), main))


def _command(context: click.Context, command: click.Command) -> Iterator[str]:
    if context.parent is not None:
        yield f"{'#' * (1 + context.command_path.count(' '))} {context.command_path}\n"
        usage = " ".join(command.collect_usage_pieces(context))
        yield f"```text\n{context.command_path} {usage}\n```\n"
        yield from _prose(command.help or "")
        options = [option for option in command.get_params(context) if isinstance(option, click.Option)]
        rows = [record for option in options if (record := option.get_help_record(context))]
        if rows:
            yield from _table(("option", "what it does"), ((f"`{a}`", b) for a, b in rows))
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None and not inner.hidden:
                yield from _command(click.Context(inner, info_name=name, parent=context), inner)


def _prose(text: str) -> Iterator[str]:
    for paragraph in inspect.cleandoc(text).replace("\b\n", "\b").split("\n\n"):
        if paragraph.startswith(("\b", "Example")):
            lines = paragraph.removeprefix("\b").splitlines()
            shown = [line.strip().removeprefix("Example: ") for line in lines if line.strip() != "Examples:"]
            yield "```text\n" + "\n".join(shown) + "\n```\n"
        else:
            yield _escaped(" ".join(paragraph.split())) + "\n"


def benchmark_settings() -> str:
    """List the settings of a benchmark."""
    return _settings("benchmark")


def train_settings() -> str:
    """List the settings of a training."""
    return _settings("train")


def _settings(command: str) -> str:
    from aisles.cli.options import options_of
    from aisles.experiments.settings.benchmark import BenchmarkSettings
    from aisles.experiments.settings.listing import list_settings
    from aisles.experiments.settings.training import TrainSettings

    kind = BenchmarkSettings if command == "benchmark" else TrainSettings
    options = {option.setting: f"`--{option.name}`" for option in options_of(command)}
    rows = (
        (f"`{setting.name}`", f"`{setting.default!r}`", setting.meaning, options.get(setting.name, ""))
        for setting in list_settings(kind)
    )
    return "\n".join(_table(("setting", "default", "meaning", "option"), rows))


def rules() -> str:
    """List the routing rules with formula and source."""
    from aisles.hierarchy.rules import RULES

    rows = (
        (f"`{rule.example or rule.name}`", rule.description, f"`{rule.formula}`", rule.source)
        for rule in map(RULES.__getitem__, RULES)
    )
    return "\n".join(_table(("rule", "what it does", "formula", "source"), rows))


def metrics() -> str:
    """List the registered metrics."""
    from aisles.experiments.metrics.registry import METRICS

    rows = ((f"`{name}`", METRICS[name].description) for name in METRICS)
    return "\n".join(_table(("metric", "what it is"), rows))


def methods() -> str:
    """List the methods of a benchmark that are no routing rules."""
    from aisles.experiments.methods.registry import METHODS

    rows = (
        (
            f"`{name}:{METHODS[name].parameter}`" if METHODS[name].parameter else f"`{name}`",
            METHODS[name].role,
            METHODS[name].description.format(parameter=METHODS[name].parameter),
        )
        for name in METHODS
    )
    return "\n".join(_table(("method", "role", "what it is"), rows))


def heads() -> str:
    """List the heads."""
    from aisles.models.heads.registry import HEADS

    return "\n".join(
        _table(("head", "what it is"), ((f"`{name}`", HEADS[name].description) for name in HEADS))
    )


def backbones() -> str:
    """List the backbones."""
    from aisles.models.backbones.definitions import BACKBONES

    rows = ((f"`{name}`", BACKBONES[name].description) for name in BACKBONES)
    return "\n".join(_table(("backbone", "what it is"), rows))


def clusterings() -> str:
    """List the clusterings."""
    from aisles.hierarchy.clustering import CLUSTERINGS

    rows = ((f"`{name}`", CLUSTERINGS[name].description) for name in CLUSTERINGS)
    return "\n".join(_table(("clustering", "two groups are as far apart as"), rows))


TABLES: dict[str, Callable[[], str]] = {
    function.__name__: function
    for function in (
        commands, benchmark_settings, train_settings, rules, metrics, methods, heads, backbones, clusterings,
    )
}  # fmt: skip


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    heads = list(heads)
    yield f"| {' | '.join(heads)} |"
    yield f"| {' | '.join('---' for _ in heads)} |"
    for row in rows:
        yield f"| {' | '.join(_cell(cell) for cell in row)} |"
    yield ""


def _cell(text: str) -> str:
    text = " ".join(text.split()).replace("|", "\\|")
    return text if text.startswith("`") else _escaped(text)


def _escaped(text: str) -> str:
    """Keep what Markdown would take for markup: patterns and numbers in brackets."""
    return re.sub(r"([*_<\[\]$])", r"\\\1", text)


def fill(_app: Any, _page: str, source: list[str]) -> None:
    """Put the tables where a page asks for them."""
    source[0] = MARK.sub(lambda found: TABLES[found[1]](), source[0])


def setup(app: Any) -> dict[str, bool]:
    """Tell Sphinx."""
    app.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
