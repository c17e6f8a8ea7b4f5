"""Every code block of README and of the documentation, as printed: shell, Python, doctest, settings and JSON.

A page's blocks run in their order and in one folder, with what a reader would have there; small servers on this machine
stand in for those of the world (`STAND_INS`). Blocks that can't run here stand under `<!-- not run: REASON; more -->`.
"""

import doctest
import gc
import glob
import json
import re
import shlex
import shutil
import subprocess
import sys
import threading
import tomllib
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

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
REASONS = {"network", "time", "container", "another installation", "another process"}
"""Why a block may be left out; what follows after a semicolon says more."""
NOT_RUN = 9
"""How many are. Only fewer may follow."""
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
    if first == "curl":
        return subprocess.run([first, "-sS", *words], capture_output=True, text=True, check=True).stdout
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


def made_up_answers(folder: Path, seed: int) -> dict[str, pd.DataFrame]:
    """Make up two systems' answers for images that no other folder has."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(["lime", "moss", "sea"], 90)
    names = [f"{folder.name}/{i}.jpg" for i in range(len(truth))]
    systems = {}
    for system, share in (("flat", 0.7), ("two-stage", 0.75)):
        answer = np.where(
            rng.random(len(truth)) < share, truth, rng.choice(["lime", "moss", "sea"], len(truth))
        )
        systems[system] = pd.DataFrame({"file_name": names, "truth": truth, "answer": answer})
    return systems


def write_held_out(folder: Path) -> None:
    """Draw labelled images that nothing learns from, and two without labels."""
    rng = np.random.default_rng(1)
    colors = {
        "apple": (200, 30, 30), "cherry": (160, 0, 60), "lime": (40, 200, 40),
        "moss": (20, 120, 30), "sea": (30, 60, 200), "sky": (90, 140, 250),
    }  # fmt: skip
    rows = ["file_name,label"]
    for name in ("held-out", "new"):
        (folder / name).mkdir()
    for i, (label, color) in enumerate(20 * list(colors.items())):
        noise = rng.normal(0, 12, (24, 24, 3)) + np.array(color)
        Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(folder / "held-out" / f"{i}.png")
        rows.append(f"{i}.png,{label}")
    (folder / "held-out" / "metadata.csv").write_text("\n".join(rows) + "\n")
    for i in (1, 2):
        Image.new("RGB", (24, 24), (40, 60 * i, 200)).save(folder / "new" / f"{i}.jpg")


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
    from aisles.experiments.judge.judgement import compare

    for number, data_set in enumerate(("groceries", "furniture", "shoes")):
        compare(made_up_answers(folder / data_set, number), output=folder / data_set)
    for system, table in made_up_answers(folder / "anywhere", 3).items():
        table.to_csv(folder / f"{system}.csv", index=False)
    shutil.copy(folder / "photos" / "lime" / "01.jpg", folder / "lamp.jpg")
    labels = np.repeat(["apple", "pear", "chair", "sofa", "lamp", "bulb"], 20)
    features = (
        np.random.default_rng(4).normal(size=(120, 16))
        + 3 * np.eye(16)[np.unique(labels, return_inverse=True)[1]]
    )
    np.savez(folder / "embeddings.npz", features=features.astype("float32"), label=labels)
    write_held_out(folder)
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


@contextmanager
def local_hub(place: Path, patch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    from huggingface_hub import constants

    from tests.hub_stand_in import Hub

    with Hub() as hub, in_background(hub):
        patch.setenv("HF_TOKEN", "secret")
        patch.setattr(constants, "HF_HUB_CACHE", str(place / "hub-cache"))
        patch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
        patch.setattr(constants, "ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield {}


@contextmanager
def local_service(place: Path, patch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    from aisles.models.bundles.bundle import load_bundle
    from aisles.service.answering import Service
    from aisles.service.http import Server

    service = Service(load_bundle(place / "run" / "bundles" / "two-stage"))
    with Server(service, port=0) as server, in_background(server):
        yield {"http://127.0.0.1:8000": server.url, "only=SOFA&only=CHAIR": "only=apple&only=lime"}


@contextmanager
def local_cluster(place: Path, patch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    from dask.distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster:
        yield {
            "tcp://10.0.0.5:8786": cluster.scheduler_address,
            "/shared/run": str(place / "shared"),
            "n_workers=4, threads_per_worker=1": "n_workers=1, threads_per_worker=1, dashboard_address=':0'",
            '"photos", "run"': '"photos", "run-cluster"',
        }


def collect_what_servers_left() -> None:
    """Collect event loops that other libraries' servers leave open: their warnings would fail a later test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@contextmanager
def arguments(place: Path, patch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    patch.setattr(sys, "argv", ["predict.py", "chair.jpg"])
    yield {}


@contextmanager
def in_background(server) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield
    server.shutdown()
    thread.join(10)


STAND_INS = {
    "docs/howto/hub.md": (("huggingface_hub",), local_hub),
    "docs/howto/serve.md": ((), local_service),
    "docs/howto/cluster.md": (("distributed",), local_cluster),
    "docs/howto/export.md": (("onnxruntime", "tf2onnx"), arguments),
}
"""By page: the modules that it needs, and what stands in for servers and other machines.

Each gives what is put in the place of the printed addresses.
"""


def run_page(page: Path, instead: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """Run the page's blocks; give what each shell line printed."""
    told, names = {}, {"__name__": "page"}
    for block in blocks(page):
        code = block.code
        for printed, here in instead.items():
            code = code.replace(printed, here)
        if block.why_not:
            continue
        if block.language == "shell":
            told |= {line: type_in(line) for line in commands(code)}
        elif block.language == "python":
            exec(compile(code, name(page), "exec"), names)
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
        assert '"error"' not in text, line
        if line.startswith("aisles benchmark"):
            assert ("advantage" if "--curve" in line else "Verdict: ") in text


OF_THEIR_OWN = ("README.md", "deploy.md")


@pytest.mark.keras
@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in RUNNING if page.name not in OF_THEIR_OWN], ids=name)
def test_the_blocks_of_a_page_run_as_printed(page, place, monkeypatch):
    needed, stand_in = STAND_INS.get(name(page), ((), None))
    for module in needed:
        pytest.importorskip(module)
    with stand_in(place, monkeypatch) if stand_in else nullcontext({}) as instead:
        check_told(run_page(page, instead))
    if stand_in is local_cluster:
        collect_what_servers_left()


@pytest.mark.keras
@pytest.mark.slow
def test_the_readme_runs_as_printed_and_leaves_what_it_says(place):
    shutil.rmtree("run")
    told = run_page(ROOT / "README.md")
    assert sum("Verdict: " in text for text in told.values()) >= 4
    assert any("forest" in line and "forest" in text for line, text in told.items())
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
    assert len(left_out) == NOT_RUN, left_out
    assert len(runnable) >= 70
    assert {why.partition(";")[0] for _, why in left_out} <= REASONS
    known = {"shell", "python", "pycon", "toml", "json", "text"}
    strange = {(name(page), block.language) for page in PAGES for block in blocks(page)}
    assert not {pair for pair in strange if pair[1] not in known}


def test_no_command_hides_in_a_block_of_plain_text():
    typed = re.compile(r"^(aisles|python|pip|curl|docker|git|ruff|pytest) ", re.M)
    hidden = [
        (name(page), b.code)
        for page in PAGES
        for b in blocks(page)
        if b.language == "text" and typed.search(b.code)
    ]
    assert not hidden


def test_no_command_of_the_pages_has_an_option_that_there_is_not():
    """Blocks that aren't run are parsed at least."""
    for page in PAGES:
        for block in blocks(page):
            if block.language != "shell" or not block.why_not:
                continue
            for line in commands(block.code):
                if not line.startswith("aisles "):
                    continue
                words = shlex.split(line, comments=True)[1:]
                command = main
                while hasattr(command, "commands"):
                    command = command.commands[words.pop(0)]
                command.make_parser(command.context_class(command)).parse_args(words)
