"""The folder that `aisles demo --export` writes: what is in it, and that it runs without aisles installed."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import tomllib
from importlib.metadata import requires, version
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import numpy as np
import pytest

from aisles.data_prep.images.manifest import read_manifest
from aisles.data_prep.io.errors import DataError

pytestmark = pytest.mark.keras
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def space(demo, run, tmp_path_factory) -> Path:
    pytest.importorskip("gradio")
    from aisles.demo import space

    bundles = run / "bundles"
    with pytest.MonkeyPatch.context() as patch:
        if not requires("aisles"):  # a checkout that pip has not installed
            project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
            patch.setattr(space, "requires", lambda _: project["dependencies"])
        folder = tmp_path_factory.mktemp("space") / "s"
        return space.write_space(demo, bundles / "two-stage", bundles / "flat", folder)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_card_says_what_a_space_needs_and_names_files_that_are_there(space):
    card = (space / "README.md").read_text(encoding="utf-8")
    front = dict(line.split(": ", 1) for line in card.split("---")[1].strip().splitlines())
    assert front["sdk"] == "gradio" and front["sdk_version"] == version("gradio")
    assert (space / front["app_file"]).is_file()
    assert re.fullmatch(r'"3\.\d+"', front["python_version"])


def test_requirements_are_what_aisles_needs_and_gradio_but_not_aisles(space):
    names = {
        re.split(r"[<>=!~\[; ]", line)[0].lower()
        for line in (space / "requirements.txt").read_text(encoding="utf-8").splitlines()
    }
    assert {"gradio", "numpy", "pillow", "keras"} <= names
    assert "aisles" not in names


def test_of_the_run_the_examples_the_report_and_no_other_image_are_copied(space, demo, run):
    images = [name for name in files(space) if Path(name).suffix in (".png", ".jpg") and "plots" not in name]
    assert len(images) == len(demo.facts.examples)
    assert all(name.startswith("run/examples/") for name in images)
    assert (space / "run" / "report.html").read_bytes() == (run / "report.html").read_bytes()
    assert not {"run/manifest.csv", "manifest.csv"} & files(space)


def test_a_folder_with_something_in_it_is_refused(demo, run, tmp_path):
    from aisles.demo.space import write_space

    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="not empty"):
        write_space(demo, run / "bundles" / "two-stage", None, tmp_path)
    assert files(tmp_path) == {"mine.txt"}


def test_what_is_opened_again_answers_and_guarantees_alike(space, demo):
    from aisles.demo.space import open_space

    again = open_space(space)
    assert [e.kind for e in again.examples] == [e.kind for e in demo.examples]
    assert again.networks.rules == demo.networks.rules
    for example in demo.examples[:3]:
        for rule in demo.networks.rules:
            one = demo.judge(demo.look(example.data, example.name), rule, 0.6)
            other = again.judge(again.look(example.data, example.name), rule, 0.6)
            assert one.guarantee == other.guarantee and one.answer.label == other.answer.label
            np.testing.assert_allclose(one.probs, other.probs, atol=1e-6)


@pytest.mark.slow
def test_it_runs_in_an_environment_without_aisles_and_writes_nothing_beside_itself(space, run, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (packages,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    # What requirements.txt names, as it is installed here; links of installed projects are not followed from there.
    installed = [path for path in sys.path if path.rstrip("/").endswith("site-packages")]
    (packages / "installed.pth").write_text("\n".join(installed), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GRADIO"))}
    environment = {**kept, "PORT": str(port), "PYTHONDONTWRITEBYTECODE": "1", "AISLES_CACHE": str(tmp_path)}
    python, before = tmp_path / "venv" / "bin" / "python", files(space)
    asked = "import aisles, aisles.models; print(aisles.__path__[0], aisles.models.__path__[0], sep='\\n')"
    found = subprocess.run(
        [python, "-c", asked], cwd=space, env=environment, capture_output=True, text=True, check=True
    )
    assert [Path(line).resolve() for line in found.stdout.split()] == [
        (space / "aisles").resolve(),
        (space / "aisles" / "models").resolve(),
    ]
    manifest = read_manifest(run / "manifest.csv")
    picture = manifest.paths[int(np.flatnonzero(manifest.splits == "test")[0])].read_bytes()
    with open(tmp_path / "log", "wb") as log:
        app = subprocess.Popen([python, "app.py"], cwd=space, env=environment, stdout=log, stderr=log)
    try:
        began = time.monotonic()
        while True:
            try:
                with urlopen(f"http://127.0.0.1:{port}/api/info") as response:
                    assert json.load(response)["guarantee"]
                break
            except URLError:
                assert app.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() - began < 150
                time.sleep(0.2)
        with urlopen(Request(f"http://127.0.0.1:{port}/api/classify", picture)) as response:
            assert json.load(response)["class"] in manifest.labels
        with urlopen(f"http://127.0.0.1:{port}/") as response:
            assert b"examples" in response.read()
    finally:
        app.terminate()
        app.wait(30)
    assert files(space) == before


def test_an_installation_that_does_not_say_what_it_needs_is_refused(demo, run, tmp_path, monkeypatch):
    from aisles.demo import space

    monkeypatch.setattr(space, "requires", lambda _: None)
    with pytest.raises(DataError, match="with pip"):
        space.write_space(demo, run / "bundles" / "two-stage", None, tmp_path / "new")
    assert not (tmp_path / "new").exists()
