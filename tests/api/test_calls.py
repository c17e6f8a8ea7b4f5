"""`aisles.benchmark`, `aisles.train` and `aisles.evaluate`: the command line's words in Python."""

import json
from pathlib import Path

import pytest

import aisles
from aisles.calls import make_settings, short_names
from aisles.cli.options import OPTIONS, settings_kind
from aisles.experiments.settings.benchmark import BenchmarkSettings
from aisles.experiments.settings.listing import list_settings
from aisles.experiments.settings.reading import read_settings
from aisles.experiments.settings.training import TrainSettings

MINE = aisles.Hierarchy(("plants", "others"), (("lime", "moss"), ("apple", "cherry", "sea", "sky")))


@pytest.mark.parametrize(
    ("named", "changes"),
    [
        ({"macros": 3, "seeds": 5}, {"hierarchy.macros": 3, "comparison.seeds": 5}),
        ({"methods": ["soft", "hie"], "alpha": 0.1}, {"comparison.methods": ["soft", "hie"], "comparison.alpha": 0.1}),
        ({"label_column": "type", "strict": "no"}, {"data.label_column": "type", "data.strict": "no"}),
        ({"hierarchy": MINE}, {"hierarchy.given": MINE}),
        ({"hierarchy": {"a": ["b"], "c": ["d"]}}, {"hierarchy.given": {"a": ["b"], "c": ["d"]}}),
        ({"hierarchy": Path("mine.json")}, {"hierarchy.file": "mine.json"}),
        ({"backbone": "vgg16", "color": "gray"}, {"backbone.name": "vgg16", "backbone.color": "gray"}),
        ({"tuned_epochs": 3}, {"fine_tuning.tuned_epochs": 3}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)  # fmt: skip
def test_a_keyword_is_the_setting_that_it_names(named, changes):
    assert make_settings(BenchmarkSettings, None, named) == read_settings(None, changes)


def test_settings_come_as_a_record_a_mapping_or_a_file_and_keywords_lie_over_them(tmp_path):
    expected = read_settings(None, {"training.epochs": 7, "hierarchy.macros": 4})
    file = tmp_path / "own.toml"
    file.write_text("[training]\nepochs = 7\n[hierarchy]\nmacros = 2\n")
    for settings in (
        file,
        str(file),
        {"training.epochs": 7},
        {"training": {"epochs": 7}},
        aisles.Settings.model_validate({"training": {"epochs": 7}}),
    ):
        assert make_settings(BenchmarkSettings, settings, {"macros": 4}) == expected
    assert make_settings(BenchmarkSettings, expected, {}) is expected
    assert (
        make_settings(TrainSettings, None, {"augment": True}, preset="abo65-flat").classifier.model == "flat"
    )


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ({"macro": 4}, "'macro' is not a setting of benchmark. Did you mean macros?"),
        (
            {"batch_size": 4},
            "'batch_size' stands in several sections.*backbone.batch_size, training.batch_size",
        ),
        ({"macros": 1}, "hierarchy.macros: there must be at least 2 macros"),
        ({"methods": ["sft"]}, "Did you mean 'soft'?"),
        ({"augment": True}, "'augment' is not a setting of benchmark. Did you mean augmentation?"),
    ],
)
def test_a_wrong_keyword_is_refused_with_what_was_meant(named, told, tmp_path):
    with pytest.raises(ValueError, match=told):
        aisles.benchmark(tmp_path, tmp_path / "run", **named)
    assert not (tmp_path / "run").exists()


def test_settings_of_the_other_command_and_two_wholes_are_refused():
    with pytest.raises(ValueError, match="`settings` must be TrainSettings. Received: BenchmarkSettings"):
        make_settings(TrainSettings, aisles.Settings(), {})
    with pytest.raises(ValueError, match="a preset or whole settings, not both"):
        make_settings(BenchmarkSettings, aisles.Settings(), {}, preset="full")


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: f"{option.name} {option.setting}")
def test_an_option_says_what_the_record_says(option):
    for command in option.commands:
        kind = settings_kind(command)
        setting = {setting.name: setting for setting in list_settings(kind)}[option.setting]
        assert short_names(kind)[option.keyword] == (option.setting,)
        if option.flag:
            assert setting.default in (False, None)
            continue
        assert option.default == ("" if setting.default in (None, ()) else str(setting.default))
        if isinstance(option.type, tuple):
            assert ", ".join(option.type) == setting.type


@pytest.mark.keras
def test_a_benchmark_on_a_hierarchy_object_is_short_to_look_at_and_repeats_from_its_settings(
    image_folder, tmp_path
):
    same = {
        "settings": {"backbone.input_size": [32, 32], "training.epochs": 2, "hierarchy.bootstraps": 2},
        "weights": "none",
        "cache": tmp_path / "cache",
    }
    result = aisles.benchmark(
        image_folder, tmp_path / "run", hierarchy=MINE, seeds=1, methods=["flat", "soft"], **same
    )
    assert json.loads((tmp_path / "run/hierarchy.json").read_text())["macros"] == {
        "plants": ["lime", "moss"], "others": ["apple", "cherry", "sea", "sky"],
    }  # fmt: skip
    assert len(repr(result)) < 200 and "soft against flat" in repr(result)
    again = aisles.benchmark(
        image_folder, tmp_path / "again", settings=tmp_path / "run/settings.toml", cache=tmp_path / "cache"
    )
    kept = ("accuracy", "macro_f1")
    for name, method in result.metrics["methods"].items():
        assert {key: method[key] for key in kept} == {
            key: again.metrics["methods"][name][key] for key in kept
        }
    assert again.metrics["comparisons"] == result.metrics["comparisons"]


@pytest.mark.keras
def test_training_and_evaluating_are_called_as_they_are_typed(image_folder, tmp_path):
    result = aisles.train(
        image_folder, tmp_path / "run", model="flat", sharing="frozen", weights="none", frozen_epochs=2,
        settings={"backbone.input_size": [32, 32]}, cache=tmp_path / "cache",
    )  # fmt: skip
    assert repr(result).startswith("TrainResult(") and len(repr(result)) < 200
    found = aisles.evaluate(result.bundle, result.manifest, split="test")
    assert found.accuracy == pytest.approx(result.test.accuracy)
    assert len(repr(found)) < 200 and "rule flat" in repr(found)
    settings = read_settings(tmp_path / "run/settings.toml", kind=TrainSettings)
    assert (settings.classifier.model, settings.fine_tuning.frozen_epochs) == ("flat", 2)
