"""What people read first: `aisles` alone, `--help` with examples before everything else, and `--version`."""

import inspect
import platform
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

import click

from .options import OPTIONS

FIRST = (
    ("aisles quickstart", "See everything run, offline, on a synthetic catalogue."),
    ("aisles benchmark photos --output run", "Does two-stage beat flat on your photographs?"),
    ("aisles report run", "Write the report of a run again."),
    ("aisles predict run/bundles/two-stage photos", "Classify photographs."),
    ("aisles compare flat.csv two-stage.csv", "Judge predictions that were made anywhere."),
)
"""The five commands that most people need."""

SECTIONS = {
    "Most used": ("quickstart", "benchmark", "report", "predict", "compare"),
    "Train and deploy": ("train", "evaluate", "export", "rename", "push", "pull", "serve", "demo"),
    "Look closer": ("audit-labels", "ablate", "cite", "reproduce"),
    "Data": ("data",),
}
"""Where `aisles --help` lists a command; the others stand under "More"."""

MATTERING = ("keras", "tensorflow", "numpy", "scikit-learn", "onnxruntime", "torch")
EXAMPLE = re.compile(r"^Example: (.+)$\n?", re.M)
FEW_OPTIONS = 9
OF_SECTION = {
    "classifier": "What is trained",
    "hierarchy": "Macro-categories",
    "comparison": "Comparison",
    "backbone": "Network",
    "fine_tuning": "Fine-tuning",
    "data": "Images and labels",
}
OF_OPTION = {
    "Results": ("output", "json", "csv", "full", "sweep", "top", "sheets", "materialize"),
    "Answers": ("rule", "only", "only-from", "only-column", "uncalibrated"),
    "Images and labels": ("null", "near-duplicates", "audit", "all", "truth", "product", "seed", "images"),
    "Comparison": ("baseline", "margin", "alpha"),
    "Explanation": ("explain", "flat", "manifest", "tree"),
    "Macro-categories": ("hierarchy",),
    "Network": ("backbone", "weights"),
    "Going on": ("resume", "replace"),
    "Speed and memory": ("engine", "batch-size", "resident", "cache", "scheduler", "jobs"),
    "Settings from elsewhere": ("preset", "config", "set", "recipe"),
    "General": ("plugin", "quiet", "help"),
}
ORDER = tuple(dict.fromkeys(("Options", "Results", "Answers", *OF_SECTION.values(), *OF_OPTION)))


def first_screen() -> str:
    """Return what `aisles` alone prints."""
    width = max(len(line) for line, _ in FIRST)
    lines = [f"  {line:<{width}}   {what}" for line, what in FIRST]
    return "\n".join(
        [
            "aisles: route a product photograph to its aisle, then to its shelf; does that beat one flat model?",
            "",
            *lines,
            "",
            "All commands: aisles --help. One of them: aisles benchmark --help.",
        ]
    )


def versions() -> str:
    """Return the versions that an answer may depend on, without importing anything."""
    lines = [f"aisles {version('aisles')}", f"Python {platform.python_version()} ({platform.platform()})"]
    for name in MATTERING:
        try:
            lines.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return "\n".join(lines)


def examples(command: click.Command) -> list[str]:
    """Return the examples of a command's help, as one would type them."""
    return EXAMPLE.findall(_help_of(command))


def write_text(command: click.Command, formatter: click.HelpFormatter) -> None:
    """Write the examples, then what the command does."""
    shown = examples(command)
    if shown:
        with formatter.section("Examples" if len(shown) > 1 else "Example"):
            for line in shown:
                formatter.write(f"{'':>{formatter.current_indent}}{line}\n")
    text = EXAMPLE.sub("", _help_of(command)).strip()
    if text:
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(text)


def write_options(command: click.Command, context: click.Context, formatter: click.HelpFormatter) -> None:
    """Write the options in groups; few stay together."""
    options = [option for option in command.get_params(context) if isinstance(option, click.Option)]
    listed = [(option, option.get_help_record(context)) for option in options]
    rows = [(_group_of(command, option), row) for option, row in listed if row is not None]
    if len(rows) <= FEW_OPTIONS:
        rows = [("Options", row) for _, row in rows]
    for group in ORDER:
        inside = [row for name, row in rows if name == group]
        if inside:
            with formatter.section(group):
                formatter.write_dl(inside)


def write_commands(
    group: click.Group,
    context: click.Context,
    formatter: click.HelpFormatter,
    sections: dict[str, tuple[str, ...]],
) -> None:
    """Write the commands of a group, each with its first sentence, those of `sections` under their heads."""
    known = {name: group.get_command(context, name) for name in group.list_commands(context)}
    listed = {name for names in sections.values() for name in names}
    rest = tuple(name for name in known if name not in listed)
    for head, names in {**sections, "More" if sections else "Commands": rest}.items():
        rows = list(_first_sentences((name, known.get(name)) for name in names))
        if rows:
            with formatter.section(head):
                formatter.write_dl(rows)


def _first_sentences(commands: Iterable[tuple[str, click.Command | None]]) -> Iterable[tuple[str, str]]:
    for name, command in commands:
        if command is not None and not command.hidden:
            yield name, command.get_short_help_str(limit=200)


def _help_of(command: click.Command) -> str:
    return inspect.cleandoc(command.help or "")


def _group_of(command: click.Command, asked: click.Option) -> str:
    names = {spelling.lstrip("-") for spelling in asked.opts}
    wanted = getattr(command.callback, "settings_of", None)
    if wanted is not None:
        for option in OPTIONS:
            if option.name in names and wanted[0] in option.commands:
                return OF_SECTION.get(option.setting.partition(".")[0], "Options")
    return next((group for group, inside in OF_OPTION.items() if names & set(inside)), "Options")
