import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from aisles.cli.main import main
from aisles.data_prep.abo.recipe import load_recipe
from aisles.data_prep.synthetic.catalogue import write_sample
from aisles.experiments.reproduction import preflight as needs_module
from aisles.experiments.reproduction.preflight import preflight
from aisles.experiments.reproduction.run import reproduce
from aisles.experiments.reproduction.studies import STUDIES
from aisles.experiments.settings.reading import read_settings
from aisles.models.backbones.weights import WeightsMissingError

CUT = 400_000
SMALL = (
    "backbone.input_size=[32,32]", "hierarchy.macros=2", "training.epochs=2", "fine_tuning.frozen_epochs=1",
    "fine_tuning.tuned_epochs=1", "hierarchy.bootstraps=2",
    'comparison.methods=["flat","flat-lda","soft","hard","flat-fine-tuned","separate"]',
)  # fmt: skip


class Breaking(ThreadingHTTPServer):
    """Serve a folder's files, and cut every connection after `CUT` bytes."""

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.requests = folder, 0


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server: Breaking = self.server  # pyright: ignore[reportAssignmentType]
        server.requests += 1
        content = (server.folder / self.path.rsplit("/", 1)[-1]).read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(asked[1]) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(content[start : start + CUT])
        self.wfile.flush()
        if start + CUT < len(content):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    write_sample(tmp_path / "catalogue", products_per_type=8)
    running = Breaking(tmp_path / "catalogue")
    thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()


def small_recipe(path):
    text = Path(str(load_recipe.__globals__["__file__"])).with_name("recipes") / "sample.toml"
    made = text.read_text().replace("minimum = 15", "minimum = 6").replace("cap = 48", "cap = 10")
    path.write_text(made)
    return path


def needs_of(output, changes=(), **more):
    study = STUDIES["abo65"]
    settings = read_settings(None, changes, preset=study.preset)
    given = {"compared_by": "vgg16", "weights": "none"} | more
    return preflight(study, load_recipe("abo65"), settings, output, **given)


def test_networks_and_passes_are_counted_by_hand(tmp_path):
    needs = needs_of(tmp_path / "new")
    # flat; router; sub-models together; the ensemble of the cost of a router and 5 sub-models, flat among its 6
    assert needs.networks == 1 + 1 + 1 + 5
    assert needs.passes == pytest.approx(8 * 20_600 * (0.64 * (40 + 3 * 25) + 0.16 * (40 + 25)))
    assert needs.gpu_seconds == 8 * 43 * 60
    assert needs.download == 87_480_320 + 3_253_381_120
    assert not needs.missing


def test_without_fine_tuning_no_network_is_trained_and_a_smaller_backbone_takes_less_time(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(needs_module, "_multiplications_per_second", lambda: 1e10)
    full = needs_of(tmp_path)
    light = needs_of(tmp_path, ["backbone.name=efficientnet_lite0"], compared_by="efficientnet_lite0")
    heads = needs_of(tmp_path, ['comparison.methods=["flat","soft"]', "comparison.bundles=[]"])
    assert heads.networks == 0 and heads.passes == 0
    assert heads.cpu_seconds < light.cpu_seconds < full.cpu_seconds
    assert full.cpu_seconds / light.cpu_seconds == pytest.approx(5.7 / 0.41, rel=0.1)


def test_missing_weights_are_said_before_anything_begins(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    output = tmp_path / "again"
    with pytest.raises(WeightsMissingError, match=r"vgg16 are missing.*inception_v3 are missing"):
        reproduce("abo65", output)
    assert not output.exists()


def test_a_disk_that_is_too_small_is_refused_before_anything_begins(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1_000_000_000})
    monkeypatch.setattr(needs_module.shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(OSError, match=r"GB of disk are needed, and 1\.0 GB are free"):
        reproduce("abo65", tmp_path / "again", weights="none")
    assert not (tmp_path / "again").exists()


def test_check_says_weights_disk_and_time_and_leaves_nothing(tmp_path):
    output = tmp_path / "again"
    told = CliRunner().invoke(
        main, ["reproduce", "abo65", "--output", str(output), "--weights", "none", "--check"]
    )
    assert told.exit_code == 0, told.output
    assert {line.split(":")[0] for line in told.output.splitlines()} >= {
        "Weights",
        "Download",
        "Disk",
        "Time",
    }
    assert not output.exists()


def test_an_unknown_study_is_refused_with_those_that_there_are(tmp_path):
    with pytest.raises(ValueError, match="abo65"):
        reproduce("abo66", tmp_path)


def started(server, output, recipe):
    command = [
        sys.executable, "-m", "aisles", "reproduce", "abo65", "--output", str(output), "--any-size",
        "--base-url", f"http://127.0.0.1:{server.server_address[1]}/archives/", "--recipe", str(recipe),
        "--backbone", "efficientnet_lite0", "--weights", "none", *(f"--set={change}" for change in SMALL),
    ]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def killed_when(process, *signs, seconds=1800):
    """Kill a process as soon as one of the files is there."""
    end = time.monotonic() + seconds
    while not any(next(sign.parent.glob(sign.name), None) for sign in signs if sign.parent.is_dir()):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
@pytest.mark.keras
def test_a_study_killed_on_the_way_with_broken_downloads_ends_with_verdict_and_report(tmp_path, server):
    output, recipe = tmp_path / "again", small_recipe(tmp_path / "small.toml")
    killed_when(
        started(server, output, recipe), output / "archives" / "*.part", output / "archives" / "*.tar"
    )
    killed_when(started(server, output, recipe), output / "data" / "steps" / "split")
    killed_when(started(server, output, recipe), output / "run" / "models" / "*")
    last = started(server, output, recipe)
    out, err = last.communicate(timeout=3000)
    assert last.returncode == 0, err
    assert server.requests > 4  # every connection was cut
    told = json.loads((output / "reproduction.json").read_text())
    assert told["verdict"] in (output / "reproduction.md").read_text()
    assert told["published_macro_f1"] == 0.87 and 0 <= told["flat_macro_f1"] <= 1
    assert not told["same_data_and_backbone"]
    metrics = json.loads((output / "run" / "metrics.json").read_text())
    assert {"flat-fine-tuned", "separate", "flat-lda", "soft", "hard"} <= set(metrics["methods"])
    assert (output / "run" / "report.html").is_file()
    assert {path.name for path in (output / "run" / "bundles").iterdir()} >= {"flat-fine-tuned", "separate"}
    assert "reproduction.md" in out


@pytest.mark.keras
@pytest.mark.parametrize(
    ("flat", "said"), [("flat", r"macro F1: 0\.\d{3}; published: 0\.87"), ("nobody", "not measured")]
)
def test_the_summary_stands_beside_what_was_published(
    tmp_path, drawn_goods, small_run, monkeypatch, flat, said
):
    from aisles.experiments.reproduction import run as module

    result = small_run(drawn_goods, tmp_path / "run", "comparison.seeds=2", 'comparison.methods=["flat-lda"]')
    monkeypatch.setattr(module, "FLAT", flat)
    settings = read_settings(None, [])
    module._write_summary(STUDIES["abo65"], load_recipe("sample"), settings, result, tmp_path)
    text = (tmp_path / "reproduction.md").read_text()
    assert re.search(said, text) and result.metrics["verdict"] in text
    assert "nothing about it" in text  # another recipe and network than the study's
    table = tmp_path / "per_class.csv"
    assert table.is_file() == (flat == "flat")
    if table.is_file():
        rows = pd.read_csv(table)
        assert rows["class"].tolist() == list(result.metrics["classes"])
        assert rows["f1"].mean() == pytest.approx(
            np.mean(result.metrics["methods"]["flat"]["macro_f1"]), abs=1e-6
        )
