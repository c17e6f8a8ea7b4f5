"""The presets' lists of methods are those of the registry and of the settings."""

from aisles.experiments.methods.registry import full_methods
from aisles.experiments.settings.benchmark import BenchmarkSettings
from aisles.experiments.settings.reading import read_settings


def test_the_preset_full_has_every_method_of_a_full_benchmark():
    preset = read_settings(preset="full").comparison.methods
    assert set(preset) >= set(full_methods())
    assert set(preset) - set(full_methods()) <= {"hiclass"}  # without the extra


def test_the_preset_quick_is_the_default():
    assert read_settings(preset="quick") == BenchmarkSettings()
