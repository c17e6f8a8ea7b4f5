"""Settings: one record each, layered from presets, files and changes, written as TOML and read back."""

import tomllib
from typing import get_args

import pytest

from aisles.experiments.settings.benchmark import BenchmarkSettings, HierarchySettings
from aisles.experiments.settings.listing import list_settings
from aisles.experiments.settings.preset_files import preset_files
from aisles.experiments.settings.reading import read_settings
from aisles.experiments.settings.training import TrainSettings
from aisles.experiments.settings.writing import write_settings
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.models.fine_tuning.settings import OPTIMIZERS, Augmentation, FineTuningSettings
from aisles.models.heads.settings import Head

KINDS = (BenchmarkSettings, TrainSettings)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (BenchmarkSettings, {}),
        (TrainSettings, {}),
        (
            BenchmarkSettings,
            {
                "data.note": 'quotes " and \\ and a\nline, \x7f, ü, 😀',
                "backbone.input_size": [32, 48],
                "hierarchy.given": {'A "b" ü': ["x y", "z"], "B": ["w"]},
                "comparison.methods": ["flat", "soft", "column:what is it"],
                "training.learning_rate": 1e-05,
                "fine_tuning.augmentation.rotation": 12.5,
            },
        ),
    ],
    ids=["benchmark", "train", "everything odd"],
)
def test_written_settings_read_back_the_same(tmp_path, kind, changes):
    settings = read_settings(None, changes, kind)
    file = write_settings(tmp_path / "settings.toml", settings, notes=["Written by: aisles\nbenchmark"])
    assert read_settings(file, kind=kind) == settings
    assert file.read_text(encoding="utf-8").startswith("# Written by: aisles\n# benchmark\n")


def test_a_section_that_is_left_out_takes_its_defaults(tmp_path):
    settings = read_settings(None, {"backbone.color": "gray", "training.epochs": 3})
    file = write_settings(tmp_path / "settings.toml", settings, without=["backbone"])
    assert "backbone" not in tomllib.loads(file.read_text(encoding="utf-8"))
    assert read_settings(file) == read_settings(None, {"training.epochs": 3})


def test_what_comes_later_wins_and_the_rest_stays(tmp_path):
    file = tmp_path / "own.toml"
    file.write_text("[hierarchy]\nmacros = 3\n[training]\nepochs = 7\n")
    found = read_settings(file, ["training.epochs=9"], preset="abo65")
    assert (found.backbone.name, found.hierarchy.macros, found.training.epochs) == ("inception_v3", 3, 9)
    assert read_settings(preset="abo65").hierarchy.macros == 5


def test_a_number_of_macros_is_never_taken_for_the_default():
    assert HierarchySettings() != HierarchySettings(macros=5)
    assert HierarchySettings() == HierarchySettings(macros="auto")


def test_a_hierarchy_is_given_as_an_object_a_mapping_or_toml(tmp_path):
    hierarchy = Hierarchy(("FRUIT", "SKY"), (("pear", "apple"), ("blue",)))
    settings = [
        HierarchySettings.model_validate({"given": given})
        for given in (hierarchy, {"FRUIT": ["pear", "apple"], "SKY": ["blue"]})
    ]
    assert settings[0] == settings[1] and settings[0].brought == hierarchy
    with pytest.raises(ValueError, match="brought once.*not as file and given"):
        HierarchySettings.model_validate({"given": hierarchy, "file": "h.json"})
    with pytest.raises(ValueError, match="EMPTY"):
        HierarchySettings.model_validate({"given": {"EMPTY": []}})


@pytest.mark.parametrize("kind", KINDS)
def test_every_preset_reads_and_belongs_to_one_command(kind):
    names = preset_files(kind.command)
    assert names
    for name in names:
        assert read_settings(preset=name, kind=kind) is not None
        (other,) = (each for each in KINDS if each is not kind)
        with pytest.raises(ValueError, match=f"There is no preset '{name}'.*Presets of {other.command}: "):
            read_settings(preset=name, kind=other)


def test_a_preset_given_as_a_file_is_met_with_its_name():
    with pytest.raises(ValueError, match="no settings file sharin. Did you mean the preset sharing"):
        read_settings("sharin")


def test_the_preset_quick_is_the_default():
    assert read_settings(preset="quick") == BenchmarkSettings()


def test_augmentation_is_switched_on_and_off_and_keeps_its_strengths():
    on = read_settings(None, ["fine_tuning.augmentation=true"]).fine_tuning.augmentation
    assert on == Augmentation()
    strong = ["fine_tuning.augmentation.rotation=40", ("fine_tuning.augmentation", True)]
    assert read_settings(None, strong).fine_tuning.augmentation == Augmentation(rotation=40)
    off = read_settings(None, ["fine_tuning.augmentation=false"], TrainSettings, preset="abo65-flat")
    assert off.fine_tuning.augmentation is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("hierarchy.macro=4", "hierarchy.macro is unknown. Did you mean hierarchy.macros?"),
        ("fine_tuning.augmentation.zom=0.1", "Did you mean fine_tuning.augmentation.zoom?"),
        ("fine_tuning.augmentation.zoom=1", "fine_tuning.augmentation.zoom: .*less than 1"),
        ("hierarchy.macros=1", "hierarchy.macros: there must be at least 2 macros"),
        ("fine_tuning.optimizer=adamant", "fine_tuning.optimizer: the optimizer must be one of Keras"),
        ("macros=4", "A change is written section.key=value"),
        ("data.label_column.x=4", "data.label_column: "),
    ],
)
def test_a_wrong_setting_is_refused_in_words(change, told):
    with pytest.raises(ValueError, match=told):
        read_settings(None, [change])


@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_is_listed_with_its_meaning_and_its_default(kind):
    listed = {setting.name: setting for setting in list_settings(kind)}
    content = kind().model_dump()
    expected = {f"{section}.{key}" for section, values in content.items() for key in values}
    assert expected <= set(listed)
    assert {name for name in listed if name not in expected} == {
        f"fine_tuning.augmentation.{key}" for key in Augmentation.model_fields
    }
    for name in expected:
        section, key = name.split(".")
        assert listed[name].default == content[section][key]
    assert all(setting.meaning.endswith(".") and setting.type for setting in listed.values())


@pytest.mark.keras
def test_optimizers_and_heads_are_those_that_there_are():
    import keras

    from aisles.models.heads.variants import VARIANTS

    assert set(get_args(Head)) == set(VARIANTS)
    for name in OPTIMIZERS:
        assert isinstance(keras.optimizers.get(name), keras.optimizers.Optimizer)
        assert FineTuningSettings(optimizer=name).optimizer == name


def test_reading_settings_loads_no_tensorflow():
    import subprocess
    import sys

    code = (
        "import sys; from aisles.experiments.settings.reading import read_settings; "
        "from aisles.experiments.settings.training import TrainSettings; "
        "read_settings(None, ['fine_tuning.optimizer=sgd'], TrainSettings); "
        "print(sorted({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.learning_rate=inf", "training.learning_rate: .*finite"),
        ("training.learning_rate=nan", "training.learning_rate: "),
        ("data.train_share=inf", "data.train_share: .*finite"),
        ("fine_tuning.frozen_rate=inf", "fine_tuning.frozen_rate: .*finite"),
        ("training.epochs=true", "training.epochs: true and false are not values of this setting"),
        ("training.learning_rate=true", "training.learning_rate: true and false are not values"),
        ("backbone.input_size=[0, 0]", "backbone.input_size: height and width must be 1 pixel or more"),
        ("backbone.input_size=[-5, 9]", "backbone.input_size: height and width"),
    ],
)
def test_numbers_are_finite_sizes_hold_pixels_and_true_is_no_number(change, message):
    with pytest.raises(ValueError, match=message):
        read_settings(changes=[change])


def test_true_and_false_are_values_where_they_are_meant():
    assert read_settings(changes=["data.resplit=true"]).data.resplit is True
