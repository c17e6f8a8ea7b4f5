"""The README's commands as printed, and the quickstart that it begins with."""

import glob
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from aisles.cli.main import main

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "docs" / "usage.md")
FAST = "--seeds 1 --weights none --set 'backbone.input_size=[32, 32]' --set training.epochs=3"

pytestmark = pytest.mark.keras


def printed_commands() -> list[str]:
    """Return the lines of the shell blocks, without those that install, and without blocks that download."""
    blocks = re.findall(
        r"```shell\n(.*?)```", "\n".join(page.read_text(encoding="utf-8") for page in PAGES), re.S
    )
    here = [block for block in blocks if "aisles data fetch" not in block]
    lines = [line for block in here for line in block.splitlines()]
    return [line for line in lines if "pip install" not in line and not line.startswith("#")]


def typed(line: str) -> str:
    """Do as a shell would: pipe into the command, fill in patterns, send what it prints to a file; give that."""
    feeding, _, command = line.rpartition(" | ")
    fed = subprocess.run(feeding, shell=True, capture_output=True, text=True, check=True).stdout
    command, _, file = command.partition(" > ")
    name, *words = shlex.split(command, comments=True)
    assert name == "aisles", line
    words = [match for word in words for match in sorted(glob.glob(word)) or [word]]
    if words[0] == "benchmark":
        words += shlex.split(FAST)
    result = CliRunner().invoke(main, words, input=fed)
    assert result.exit_code == 0, (line, result.output, result.exception)
    assert "\r" not in result.stderr
    if file:
        Path(file.strip()).write_text(result.stdout)
    return result.stdout


@pytest.fixture
def place(tmp_path, image_folder, monkeypatch):
    """Go to a folder with what the README takes for granted: `photos`, `chair.jpg` and `mine.json`."""
    for path in image_folder.rglob("*.png"):
        photo = tmp_path / "photos" / path.parent.name / f"{path.stem}.jpg"
        photo.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            image.save(photo)
    shutil.copy(tmp_path / "photos" / "sky" / "01.jpg", tmp_path / "chair.jpg")
    mine = {"macros": {"plants": ["lime", "moss"], "others": ["apple", "cherry", "sea", "sky"]}}
    (tmp_path / "mine.json").write_text(json.dumps(mine))
    monkeypatch.setenv("AISLES_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_of_the_readme_run_as_printed(place):
    told = {line: typed(line) for line in printed_commands()}
    assert sum("Verdict: " in text for text in told.values()) == 2
    assert len(list(place.glob("photos/*/*.jpg"))) == 72
    path = r"photos/apple/00.jpg: \S+ [01]\.\d\d > \S+ [01]\.\d\d"
    assert any(re.match(path, text) and len(text.splitlines()) == 72 for text in told.values())
    answers = [json.loads(line) for line in (place / "answers.jsonl").read_text().splitlines()]
    assert len(answers) == 72 and {"file_name", "macro", "label", "probability"} <= set(answers[0])
    assert any(text.startswith("file_name,") and len(text.splitlines()) == 73 for text in told.values())
    assert "apple" in (place / "why.html").read_text()
    mine, used = ((place / name).read_text() for name in ("mine.json", "run2/hierarchy.json"))
    assert json.loads(used) == json.loads(mine)


@pytest.mark.slow
def test_the_quickstart_ends_with_the_verdict_and_leaves_everything_to_look_at(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "aisles", "quickstart"],
        cwd=tmp_path, env=os.environ | {"AISLES_CACHE": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and "\r" not in done.stderr
    assert "Verdict: " in done.stdout
    assert done.stdout.rstrip().endswith("tell nothing about ABO.")
    left = tmp_path / "aisles-quickstart"
    for step in ("select/classes", "score/scores", "balance/images", "split/images"):
        assert (left / "curated" / "steps" / f"{step}.csv").stat().st_size > 100
    assert (left / "curated" / "sheets" / "index.html").exists()
    for name in ("dendrogram.svg", "dendrogram.png", "report.html", "bundles/flat", "bundles/two-stage"):
        assert (left / "run" / name).exists(), name
    assert "report.html" in done.stdout
    metrics = json.loads((left / "run" / "metrics.json").read_text())
    assert len(metrics["classes"]) >= 20 and len(metrics["macros"]) >= 4
