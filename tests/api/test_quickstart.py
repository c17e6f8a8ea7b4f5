"""The quickstart, the first command that a newcomer types."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.keras


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
