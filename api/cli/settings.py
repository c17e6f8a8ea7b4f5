"""`aisles settings`: every setting with its option, type, default and meaning."""

from typing import Any

import click

from .commands import Command, as_json
from .options import BENCHMARK, BOTH, options_of, settings_kind


@click.command(cls=Command)
@click.argument("command", type=click.Choice(BOTH), default=BENCHMARK)
@click.option("--json", "json_", is_flag=True, help="Print as JSON.")
def settings(command: str, json_: bool) -> None:
    """List the settings of COMMAND (benchmark or train) with type, default, meaning and option.

    Each goes into a TOML file for --config ([section], key = value), after --set on the command line
    (--set section.key=value), and into settings={"section.key": value} in Python.

    Example: aisles settings train
    """
    from aisles.experiments.settings.listing import list_settings

    options = {option.setting: f"--{option.name}" for option in options_of(command)}
    found = list_settings(settings_kind(command))
    if json_:
        click.echo(as_json([vars(setting) | {"option": options.get(setting.name)} for setting in found]))
        return
    for setting in found:
        option = f"  ({options[setting.name]})" if setting.name in options else ""
        click.echo(f"{setting.name} = {_shown(setting.default)}{option}")
        click.echo(f"    {setting.meaning} [{setting.type}]")


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_shown, value))}]"
    return as_json(value)
