"""Every committed result says what makes it again."""

import re
from pathlib import Path

import pytest

LAB = Path(__file__).parents[3] / "experiments" / "lab"
RESULTS = LAB / "results"
PAGE = (RESULTS / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("file", sorted(path.name for path in RESULTS.iterdir() if path.name != "README.md"))
def test_every_result_stands_on_the_page(file):
    told = [
        named
        for row in PAGE.splitlines()
        for named in re.findall(r"`([^`]+)`", row.split("|")[1] if "|" in row else "")
    ]
    assert file in told or Path(file).stem in told


@pytest.mark.parametrize("module", sorted(set(re.findall(r"experiments\.lab\.(\w+)", PAGE))))
def test_every_command_of_the_page_is_there(module):
    assert (LAB / f"{module}.py").is_file() or (LAB / module / "__main__.py").is_file()


@pytest.mark.parametrize("preset", sorted(set(re.findall(r"experiments/lab/presets/([\w.-]+)", PAGE))))
def test_every_preset_of_the_page_is_there(preset):
    assert (LAB / "presets" / preset).is_file()
