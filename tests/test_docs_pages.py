"""Every code block of README and of the documentation, as printed: shell, Python, doctest, settings and JSON.

A page's blocks run in their order and in one folder, with what a reader would have there. Blocks that can't run
offline or take minutes stand under a line `<!-- not run: WHY -->`.
"""

import doctest
import glob
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from aisles.cli.main import main
from aisles.experiments.methods.registry import METHODS
from aisles.experiments.metrics.registry import METRICS
from aisles.experiments.settings.benchmark import BenchmarkSettings
from aisles.experiments.settings.reading import read_settings
from aisles.hierarchy.clustering import CLUSTERINGS
from aisles.hierarchy.rules import RULES
from aisles.models.backbones.definitions import BACKBONES
from aisles.models.heads.registry import HEADS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<why>[^\n]+) -->\n)?```(?P<language>\w+)\n(?P<code>.*?)^```", re.M | re.S
)
NOT_RUN_AT_MOST = 1 / 8
"""Of the blocks of shell and Python."""
FAST_EMBEDDED = "--seeds 1 --set training.epochs=2 --set 'comparison.methods=[\"soft\"]'"
FAST = f"{FAST_EMBEDDED} --weights none --set 'backbone.input_size=[32, 32]'"
FAST_TRAINING = (
    "--weights none --set 'backbone.input_size=[32, 32]' --set fine_tuning.frozen_epochs=1 "
    "--set fine_tuning.tuned_epochs=1"
)
"""Laid under what the page says: its own options win."""


@dataclass(frozen=True)
class Block:
    language: str
    code: str
    why_not: str | None


def blocks(page: Path) -> list[Block]:
    found = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Block(block["language"], block["code"], block["why"]) for block in found]


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def commands(code: str) -> list[str]:
    """Return the lines that call aisles; installing is what CI does first of all."""
    lines = [line for line in code.splitlines() if line and not line.startswith("#")]
    return [line for line in lines if "pip install" not in line]


def type_in(line: str) -> str:
    """Do as a shell would: pipe into the command, fill in patterns, send what it prints to a file; give that."""
    feeding, _, command = line.rpartition(" | ")
    fed = subprocess.run(feeding, shell=True, capture_output=True, text=True, check=True).stdout
    command, _, file = command.partition(" > ")
    first, *words = shlex.split(command, comments=True)
    assert first == "aisles", line
    words = [match for word in words for match in sorted(glob.glob(word)) or [word]]
    if words[0] == "benchmark":
        words[2:2] = shlex.split(FAST_EMBEDDED if words[1].endswith(".npz") else FAST)
    if words[0] == "train" and "--update" not in words:
        words[2:2] = shlex.split(FAST_TRAINING)
    result = CliRunner().invoke(main, words, input=fed)
    assert result.exit_code == 0, (line, result.output, result.exception)
    assert "\r" not in result.stderr
    if file:
        Path(file.strip()).write_text(result.stdout)
    return result.stdout


def write_small_run(folder: Path, seed: int) -> None:
    """Judge answers that were made up, of images that no other run has."""
    from aisles.experiments.judge.judgement import compare

    rng = np.random.default_rng(seed)
    truth = rng.choice(["lime", "moss", "sea"], 90)
    names = [f"{folder.name}/{i}.jpg" for i in range(len(truth))]
    systems = {}
    for system, share in (("flat", 0.7), ("two-stage", 0.75)):
        answer = np.where(
            rng.random(len(truth)) < share, truth, rng.choice(["lime", "moss", "sea"], len(truth))
        )
        systems[system] = pd.DataFrame({"file_name": names, "truth": truth, "answer": answer})
    compare(systems, output=folder)


@pytest.fixture(scope="module")
def readers_folder(tmp_path_factory, image_folder):
    """Make what pages take for granted: photographs, a few small files, and the run of the photographs."""
    folder = tmp_path_factory.mktemp("reader")
    for path in image_folder.rglob("*.png"):
        photo = folder / "photos" / path.parent.name / f"{path.stem}.jpg"
        photo.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            image.save(photo)
    shutil.copy(folder / "photos" / "sky" / "01.jpg", folder / "chair.jpg")
    mine = {"macros": {"plants": ["lime", "moss"], "others": ["apple", "cherry", "sea", "sky"]}}
    (folder / "mine.json").write_text(json.dumps(mine))
    shelves = "".join(f"{path.relative_to(folder)},apple|lime\n" for path in sorted(folder.rglob("*.jpg")))
    (folder / "shelves.csv").write_text("file_name,shelf\n" + shelves)
    (folder / "corrections").mkdir()
    for number, color in enumerate(((210, 40, 20), (190, 20, 40))):
        Image.new("RGB", (24, 24), color).save(folder / "corrections" / f"{number}.png")
    (folder / "corrections" / "metadata.csv").write_text("file_name,label\n0.png,apple\n1.png,cherry\n")
    forest = next(block.code for block in blocks(ROOT / "docs" / "extend.md") if block.language == "python")
    (folder / "forest.py").write_text(forest, encoding="utf-8")
    for number, data_set in enumerate(("groceries", "furniture", "shoes")):
        write_small_run(folder / data_set, number)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AISLES_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        type_in("aisles benchmark photos --output run")
    return folder


@pytest.fixture
def place(readers_folder, tmp_path, monkeypatch):
    """Go to a copy of the reader's folder; what a page registers is forgotten afterwards."""
    import aisles
    from aisles import calls

    for registry in (METHODS, METRICS, CLUSTERINGS, RULES, HEADS, BACKBONES):
        len(registry)
        monkeypatch.setattr(registry, "_known", dict(registry._known))
    own = tmp_path / "own"
    shutil.copytree(readers_folder, own)
    monkeypatch.setenv("AISLES_CACHE", str(own / "cache"))
    monkeypatch.chdir(own)
    quick = {"seeds": 1, "weights": "none", "methods": ["soft"]}
    quick["settings"] = {"backbone.input_size": [32, 32], "training.epochs": 2}
    monkeypatch.setattr(aisles, "benchmark", lambda *args, **named: calls.benchmark(*args, **quick | named))
    return own


def run_page(page: Path) -> dict[str, str]:
    """Run the page's blocks; give what each shell line printed."""
    told, names = {}, {"__name__": "page"}
    for block in blocks(page):
        if block.why_not:
            continue
        if block.language == "shell":
            told |= {line: type_in(line) for line in commands(block.code)}
        elif block.language == "python":
            exec(compile(block.code, name(page), "exec"), names)
    return told


EXAMPLES = [page for page in PAGES if any(block.language == "pycon" for block in blocks(page))]


@pytest.mark.parametrize("page", EXAMPLES, ids=name)
def test_worked_examples_give_the_numbers_that_are_printed(page):
    code = "\n".join(block.code for block in blocks(page) if block.language == "pycon")
    parsed = doctest.DocTestParser().get_doctest(code, {}, name(page), str(page), 0)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE, verbose=False)
    said: list[str] = []
    runner.run(parsed, out=said.append)
    assert parsed.examples and not runner.failures, "".join(said)


RUNNING = [
    page
    for page in PAGES
    if any(block.language in {"shell", "python"} and not block.why_not for block in blocks(page))
]


def check_told(told):
    """Check that every command of a page printed something, and every benchmark its verdict."""
    for line, text in told.items():
        assert text.strip(), f"{line} prints nothing"
        if line.startswith("aisles benchmark"):
            assert ("advantage" if "--curve" in line else "Verdict: ") in text


OF_THEIR_OWN = ("README.md", "deploy.md")


@pytest.mark.keras
@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in RUNNING if page.name not in OF_THEIR_OWN], ids=name)
def test_the_blocks_of_a_page_run_as_printed(page, place):
    check_told(run_page(page))


@pytest.mark.keras
@pytest.mark.slow
def test_the_readme_runs_as_printed_and_leaves_what_it_says(place):
    shutil.rmtree("run")
    told = run_page(ROOT / "README.md")
    assert sum("Verdict: " in text for text in told.values()) >= 2
    path = r"photos/apple/00.jpg: \S+ [01]\.\d\d > \S+ [01]\.\d\d"
    assert any(re.match(path, text) and len(text.splitlines()) == 72 for text in told.values())
    mine, used = (json.loads(Path(file).read_text()) for file in ("mine.json", "run-mine/hierarchy.json"))
    assert used == mine


@pytest.mark.keras
@pytest.mark.slow
def test_the_blocks_of_the_deploying_page_run_and_its_predictions_are_complete(place):
    told = run_page(ROOT / "docs" / "start" / "deploy.md")
    check_told(told)
    answers = [json.loads(line) for line in Path("answers.jsonl").read_text().splitlines()]
    assert len(answers) == 72 and {"file_name", "macro", "label", "probability"} <= set(answers[0])
    assert any(text.startswith("file_name,") and len(text.splitlines()) == 73 for text in told.values())
    assert "sky" in Path("why.html").read_text()


def test_settings_and_json_of_the_pages_are_read(tmp_path):
    found = 0
    for page in PAGES:
        for block in blocks(page):
            if block.language == "toml":
                (tmp_path / "settings.toml").write_text(block.code, encoding="utf-8")
                assert read_settings(tmp_path / "settings.toml", [], BenchmarkSettings)
                found += bool(tomllib.loads(block.code))
            elif block.language == "json":
                found += bool(json.loads(block.code))
    assert found >= 2


def test_few_blocks_are_left_out_and_each_says_why():
    left_out = [(name(page), block.why_not) for page in PAGES for block in blocks(page) if block.why_not]
    runnable = [b for page in PAGES for b in blocks(page) if b.language in {"shell", "python", "pycon"}]
    assert len(left_out) <= NOT_RUN_AT_MOST * len(runnable), left_out
    known = {"shell", "python", "pycon", "toml", "json", "text"}
    strange = {(name(page), block.language) for page in PAGES for block in blocks(page)}
    assert not {pair for pair in strange if pair[1] not in known}


def test_no_command_of_the_pages_has_an_option_that_there_is_not():
    """Blocks that aren't run are parsed at least."""
    for page in PAGES:
        for block in blocks(page):
            if block.language != "shell" or not block.why_not:
                continue
            for line in commands(block.code):
                words = shlex.split(line, comments=True)[1:]
                command = main
                while hasattr(command, "commands"):
                    command = command.commands[words.pop(0)]
                command.make_parser(command.context_class(command)).parse_args(words)
