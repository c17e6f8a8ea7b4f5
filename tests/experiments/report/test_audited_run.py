import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from aisles.data_prep.io.errors import DataError
from aisles.experiments.label_audit.audited_run import audit_run
from aisles.experiments.report.writing import write_report


@pytest.fixture
def big_run(make_run):
    """Return a run whose manifest has 10 training images a class, apart from the 8 test images, and their features."""
    folder = make_run()
    table = pd.read_csv(folder / "manifest.csv", dtype=str)
    classes = ("apple", "cherry", "lime", "moss")
    more = [(f"images/train-{i}.png", classes[i % 4], "train") for i in range(40)]
    for name, _, _ in more:
        Image.new("RGB", (8, 8)).save(folder / name)
    table = pd.concat([table, pd.DataFrame(more, columns=table.columns)])
    table["product"] = [f"P{i}" for i in range(len(table))]
    table.to_csv(folder / "manifest.csv", index=False)
    rng = np.random.default_rng(0)
    of_label = np.array([classes.index(label) for label in table["label"]])
    features = 4 * np.eye(4)[of_label] + 0.1 * rng.normal(size=(len(table), 4))
    features[2] = 4 * np.eye(4)[3]  # the second test image, an apple, looks like moss
    return folder, features


def test_an_audit_names_the_image_and_recomputes_accuracies_without_it(big_run):
    folder, features = big_run

    audit = audit_run(folder, features)

    assert audit.suspects[["file_name", "label", "suggested", "split"]].values.tolist() == [
        ["images/1.png", "apple", "moss", "test"]
    ]
    soft = audit.facts["methods"]["soft"]
    assert (soft["n_images"], soft["n_suspected"], soft["all_images"]) == (8, 1, 13 / 16)
    assert soft["without"] == pytest.approx(11 / 14) and soft["suspected"] == 1.0
    assert audit.facts["splits"]["train"]["n_suspected"] == 0
    assert "1 labels look wrong: 0 of 41 train, 1 of 8 test." in audit.summary()
    assert (folder / "audit" / "sheets" / "index.html").is_file()
    assert json.loads((folder / "audit" / "audit.json").read_text())["n_suspected"] == 1


def test_the_report_shows_the_audit_that_lies_in_the_run(big_run):
    folder, features = big_run
    before = write_report(folder).html.read_text(encoding="utf-8")
    audit_run(folder, features)

    page = write_report(folder).html.read_text(encoding="utf-8")

    assert 'id="audit"' not in before and "the audit of labels" in before
    part = page[page.index('id="audit"') : page.index('id="limits"')]
    assert "<h3>moss?</h3>" in part and "the audit of labels" not in page
    assert "test: 1 of 8 images suspected" in part
    row = (
        next(path for path in (folder / "tables").iterdir() if path.name == "audit.csv")
        .read_text()
        .splitlines()[2]
    )
    assert row.split(",")[0] == "soft" and [round(float(value), 4) for value in row.split(",")[1:]] == [
        0.8125, 0.7857, 1.0,
    ]  # fmt: skip


def test_a_manifest_that_lists_other_test_images_is_refused(big_run):
    folder, features = big_run
    table = pd.read_csv(folder / "manifest.csv", dtype=str)
    table[:-1].assign(split=["train"] * 2 + ["test"] * (len(table) - 3)).to_csv(
        folder / "manifest.csv", index=False
    )

    with pytest.raises(DataError, match="list different test images"):
        audit_run(folder, features)
