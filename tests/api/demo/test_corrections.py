"""What visitors correct is what `aisles train --update` learns from."""

import hashlib
import io

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from aisles.cli.main import main
from aisles.data_prep.images.manifest import read_manifest
from aisles.demo.session import Visit, manifest_csv
from aisles.models.bundles.bundle import load_bundle

pytestmark = pytest.mark.keras


def test_downloaded_corrections_beside_their_images_are_learned_by_train_update(demo, run, tmp_path):
    manifest = read_manifest(run / "manifest.csv")
    visit, folder, digests = Visit(), tmp_path / "corrections", set()
    folder.mkdir()
    for number, row in enumerate(np.flatnonzero(manifest.splits == "test")[:3]):
        with Image.open(manifest.paths[row]) as image:
            own = image.convert("RGB").rotate(90).resize((25, 25))  # a photograph that the run has not seen
        buffer = io.BytesIO()
        own.save(buffer, "PNG")
        name = f"mine, {number}.png"
        visit.look = demo.look(buffer.getvalue(), name)
        visit.correct(str(manifest.labels[row]))
        (folder / name).write_bytes(buffer.getvalue())
        digests.add(hashlib.sha256(buffer.getvalue()).hexdigest())
    (folder / "metadata.csv").write_text(manifest_csv(visit.corrections), encoding="utf-8")
    bundle = run / "bundles" / "two-stage"
    asked = ["train", folder / "metadata.csv", "--update", bundle, "--output", tmp_path / "better"]
    asked += ["--cache", run.parent / "cache" / "features"]
    result = CliRunner().invoke(main, list(map(str, asked)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert not digests & load_bundle(bundle).learned_from
    assert digests <= load_bundle(tmp_path / "better" / "bundle").learned_from
