"""The one table of options that change settings: option, setting, type, default, help, and which commands offer it.

The command line is built from it, `aisles settings` names each setting's option by it, and Python takes the same names
as keywords. Nothing heavy is loaded; a test compares types and defaults with the settings' records.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

BENCHMARK, TRAIN = "benchmark", "train"
BOTH = (BENCHMARK, TRAIN)
HEADS = ("v1.1", "v1.2", "v1.3", "v1.4", "v2.1", "v2.2", "vgg")


@dataclass(frozen=True)
class SettingOption:
    """An option that changes one setting.

    Attributes
    ----------
    name : str
        Without dashes: `label-column`.
    setting : str
        `section.key`.
    help : str
    default : str
        As the help says it; empty where there is nothing to say.
    type : tuple of str, or click type, or None
        The choices, or what Click checks; None for any text.
    flag : bool
        Whether it takes no value and means true.
    several : bool
        Whether it may be repeated and makes a list.
    commands : tuple of str
        Whose settings have it.
    """

    name: str
    setting: str
    help: str
    default: str = ""
    type: Any = None
    flag: bool = False
    several: bool = False
    commands: tuple[str, ...] = BOTH

    @property
    def keyword(self) -> str:
        """The name in Python, and under which Click hands the value over; of a list the setting's own."""
        return self.setting.rpartition(".")[2] if self.several else self.name.replace("-", "_")

    def click_option(self) -> Callable:
        """Return the option for Click; it is None unless given."""
        text = f"{self.help}  [default: {self.default}]" if self.default else self.help
        if self.flag:
            return click.option(f"--{self.name}", is_flag=True, default=None, help=text)
        if self.several:
            more = {
                "multiple": True,
                "metavar": "NAME",
                "callback": lambda _context, _option, names: names or None,
            }
            return click.option(f"--{self.name}", self.keyword, help=f"{text} May be repeated.", **more)
        kind = click.Choice(self.type) if isinstance(self.type, tuple) else self.type
        return click.option(f"--{self.name}", type=kind, help=text)


OPTIONS = (
    SettingOption(
        "model", "classifier.model", "What is trained.", "two-stage", ("flat", "two-stage"), commands=(TRAIN,)
    ),
    SettingOption(
        "sharing",
        "classifier.sharing",
        "frozen: one pretrained backbone for all models; fine-tuned: one, fine-tuned as the flat model's; separate: "
        "each model fine-tunes its own.",
        "fine-tuned",
        ("frozen", "fine-tuned", "separate"),
        commands=(TRAIN,),
    ),
    SettingOption(
        "start",
        "classifier.start",
        "What the models of separate start from.",
        "imagenet",
        ("imagenet", "flat"),
        commands=(TRAIN,),
    ),
    SettingOption("rule", "classifier.rule", "Routing rule of the bundle.", "soft", commands=(TRAIN,)),
    SettingOption("macros", "hierarchy.macros", "Number of macro-categories, or auto.", "auto"),
    SettingOption(
        "hierarchy-column",
        "hierarchy.column",
        "The manifest's column that names each class's macro-category.",
    ),
    SettingOption("hierarchy", "hierarchy.file", "A hierarchy of your own, as JSON.", type=click.Path()),
    SettingOption(
        "linkage",
        "hierarchy.linkage",
        "A registered clustering of the classes: ward, average, complete or your own.",
        "ward",
    ),
    SettingOption(
        "seeds", "comparison.seeds", "How many training seeds.", "3", click.IntRange(1), commands=(BENCHMARK,)
    ),
    SettingOption(
        "bundle",
        "comparison.bundles",
        "A method whose models are saved for use, besides flat, the primary and the best on validation images.",
        several=True,
        commands=(BENCHMARK,),
    ),
    SettingOption(
        "seed",
        "classifier.seed",
        "Seed of weights, order and augmentation.",
        "0",
        click.IntRange(0),
        commands=(TRAIN,),
    ),
    SettingOption(
        "backbone",
        "backbone.name",
        "A registered network (aisles weights lists them), or several joined by +.",
        "efficientnet_lite0",
    ),
    SettingOption(
        "fit",
        "backbone.fit",
        "What happens to images of another shape; published: as the backbone's authors do.",
        "published",
        ("published", "crop", "squash", "pad"),
    ),
    SettingOption("weights", "backbone.weights", "imagenet, none or a file.", "imagenet"),
    SettingOption(
        "color", "backbone.color", "Whether the network sees colors or gray (luma).", "rgb", ("rgb", "gray")
    ),
    SettingOption(
        "precision",
        "backbone.precision",
        "Number format in which features are computed.",
        "float32",
        ("float32", "bfloat16"),
        commands=(BENCHMARK,),
    ),
    SettingOption(
        "engine",
        "backbone.engine",
        "What computes features; onnx needs the extra onnx.",
        "tensorflow",
        ("tensorflow", "onnx"),
        commands=(BENCHMARK,),
    ),
    SettingOption(
        "precision",
        "fine_tuning.precision",
        "Number format in which networks are fine-tuned.",
        "auto",
        ("auto", "float32", "bfloat16", "float16"),
        commands=(TRAIN,),
    ),
    SettingOption("head", "fine_tuning.head", "Layers on the backbone.", "v1.3", HEADS, commands=(TRAIN,)),
    SettingOption(
        "augment",
        "fine_tuning.augmentation",
        "Train on randomly changed images.",
        flag=True,
        commands=(TRAIN,),
    ),
    SettingOption(
        "deterministic",
        "fine_tuning.deterministic",
        "The same result bit for bit for the same seed.",
        flag=True,
        commands=(TRAIN,),
    ),
    SettingOption(
        "tensorboard",
        "fine_tuning.tensorboard",
        "Write the curves for TensorBoard too: tensorboard --logdir RUN.",
        flag=True,
        commands=(TRAIN,),
    ),
    SettingOption("label-column", "data.label_column", "The manifest's column with the class.", "label"),
    SettingOption(
        "strict",
        "data.strict",
        "What stops the run: any unreadable image, a class that loses all its images, or nothing.",
        "classes",
        ("images", "classes", "no"),
    ),
)


def options_of(command: str, without: tuple[str, ...] = ()) -> tuple[SettingOption, ...]:
    """Return the options of a command's settings, but for those of the settings in `without`."""
    return tuple(option for option in OPTIONS if command in option.commands and option.setting not in without)


def setting_options(command: str, *, without: tuple[str, ...] = ()) -> Callable[[Callable], Callable]:
    """Add the options that make a command's settings; the command gets `settings` and `cache`.

    Parameters
    ----------
    command : {'benchmark', 'train'}
        Whose settings.
    without : tuple of str
        Settings that the command doesn't use, whose options it must not offer.
    """
    from aisles.experiments.settings.preset_files import preset_files

    shared = [
        click.option(
            "--preset", type=click.Choice(list(preset_files(command))), help="Settings that come with aisles."
        ),
        click.option(
            "--config",
            type=click.Path(),
            help="Read settings from a TOML file, such as a run's settings.toml.",
        ),
        click.option(
            "--set",
            "changes",
            multiple=True,
            metavar="SECTION.KEY=VALUE",
            help=f"Change one setting; aisles settings {command} lists them.",
        ),
        *(option.click_option() for option in options_of(command, without)),
        click.option("--cache", type=click.Path(), help="Folder for cached features."),
    ]

    def decorate(function: Callable) -> Callable:
        function.settings_of = command, without  # type: ignore[attr-defined]
        for option in reversed(shared):
            function = option(function)
        return function

    return decorate


def read_given(command: str, without: tuple[str, ...], given: dict[str, Any]) -> Any:
    """Take the settings' options out of what Click parsed, and read the settings that they make.

    Raises
    ------
    click.UsageError
        If they are not valid.
    """
    from aisles.experiments.settings.reading import read_settings

    values = [(option.setting, given.pop(option.keyword)) for option in options_of(command, without)]
    chosen = [(setting, value) for setting, value in values if value is not None]
    config, preset, changes = (given.pop(name) for name in ("config", "preset", "changes"))
    try:
        return read_settings(config, [*chosen, *changes], settings_kind(command), preset=preset)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def settings_kind(command: str) -> Any:
    """Return the record of a command's settings."""
    if command == TRAIN:
        from aisles.experiments.settings.training import TrainSettings

        return TrainSettings
    from aisles.experiments.settings.benchmark import BenchmarkSettings

    return BenchmarkSettings
