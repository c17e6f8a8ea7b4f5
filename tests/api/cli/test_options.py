"""Options that every command shares: `--quiet` in either place, plugins, and the list of settings."""

import json
import logging
import subprocess
import sys

import pytest
from click.testing import CliRunner

from aisles.cli.main import main

RULE = """
import aisles


@aisles.register_rule("mirrored", description="soft, for a test")
def mirrored(macro_probs, within_probs, hierarchy):
    from aisles.hierarchy.rule_functions import soft

    return soft(macro_probs, within_probs, hierarchy)
"""


def call(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.mark.parametrize(
    ("words", "level"),
    [
        (["settings"], logging.INFO),
        (["--quiet", "settings"], logging.WARNING),
        (["settings", "--quiet"], logging.WARNING),
        (["data", "index", "nowhere", "--quiet"], logging.WARNING),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_quiet_works_before_and_after_the_command(words, level):
    call(*words)
    assert logging.getLogger("aisles").level == level


@pytest.mark.parametrize(
    "command", [["predict", "bundle", "x.jpg"], ["evaluate", "bundle", "photos"]], ids=" ".join
)
def test_a_plugins_names_are_known_to_other_options(command, tmp_path):
    file = tmp_path / "own.py"
    file.write_text(RULE)
    start = [sys.executable, "-m", "aisles", *command, "--rule", "mirrored"]
    without = subprocess.run(start, capture_output=True, text=True, cwd=tmp_path)
    assert without.returncode == 2 and "Unknown routing rule 'mirrored'" in without.stderr
    with_it = subprocess.run([*start, "--plugin", str(file)], capture_output=True, text=True, cwd=tmp_path)
    assert with_it.returncode != 2 and "mirrored" not in with_it.stderr and "bundle" in with_it.stderr


@pytest.mark.parametrize(
    "command", ["benchmark", "train", "predict", "evaluate", "report", "ablate color", "ablate heads"]
)
def test_every_command_that_takes_names_takes_plugins(command):
    result = call(*command.split(), "--plugin", "nowhere.py", "x", "y")
    assert result.exit_code == 2 and "There is no plugin file nowhere.py" in result.output


def test_all_settings_are_listed_with_their_options():
    listed = {row["name"]: row for row in json.loads(call("settings", "--json").stdout)}
    assert (
        listed["hierarchy.macros"]["option"] == "--macros" and listed["hierarchy.macros"]["default"] == "auto"
    )
    assert "names each image's macro-category" in listed["hierarchy.column"]["meaning"]
    assert listed["hierarchy.column"]["option"] == "--hierarchy-column"
    assert listed["hierarchy.given"]["option"] is None
    text = call("settings", "train").stdout
    assert 'classifier.sharing = "fine-tuned"  (--sharing)' in text and "comparison.seeds" not in text


@pytest.mark.parametrize("command", ["benchmark", "train"])
def test_a_command_offers_its_own_presets_alone(command):
    other = {"benchmark": "abo65-flat", "train": "sharing"}[command]
    result = call(command, "photos", "-o", "run", "--preset", other)
    assert result.exit_code == 2 and f"'{other}' is not one of" in result.output
