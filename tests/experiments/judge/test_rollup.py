"""`aisles rollup`: answers worked out by hand, guarantees counted, files read back, bad tables refused."""

import csv
import io
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import aisles
from aisles.cli.main import main
from aisles.data_prep.io.errors import DataError

TREE = {"SEAT": ["CHAIR", "SOFA"], "LIGHT": ["LAMP"]}
TABLE = pd.DataFrame(
    {
        "file_name": ["a.jpg", "b.jpg", "c.jpg"],
        "truth": ["CHAIR", "SOFA", "CHAIR"],
        "p:CHAIR": [0.75, 0.5, 0.25],
        "p:LAMP": [0.125, 0.125, 0.5],
        "p:SOFA": [0.125, 0.375, 0.25],
    }
)


def test_levels_and_probabilities_are_those_worked_out_by_hand():
    found = aisles.rollup(TABLE, TREE, climb=(0.7, 0.8))
    rows = found.table.to_dict("records")
    assert [(row["answered"], row["answer"], row["probability"]) for row in rows] == [
        ("class", "CHAIR", 0.75), ("macro", "SEAT", 0.875), ("none", None, 0.0),
    ]  # fmt: skip
    assert [(row["class"], row["class_probability"], row["macro"], row["macro_probability"]) for row in rows] == [
        ("CHAIR", 0.75, "SEAT", 0.875), ("CHAIR", 0.5, "SEAT", 0.875), ("LAMP", 0.5, "LIGHT", 0.5),
    ]  # fmt: skip
    assert found.metrics == {
        "rows": 3, "answered": {"class": 1, "macro": 1, "none": 1}, "right": {"class": 1.0, "macro": 1.0},
    }  # fmt: skip
    assert "class 1 (100.0% right), macro 1 (100.0% right), none 1" in found.summary()
    assert "<table" in found._repr_html_() and repr(found).startswith("Rollup(3 rows; 3 rows answered")


def test_without_a_threshold_the_class_is_always_answered():
    found = aisles.rollup(TABLE, TREE)
    assert found.table["answered"].tolist() == ["class"] * 3
    assert found.table["answer"].tolist() == ["CHAIR", "CHAIR", "LAMP"]
    assert found.metrics["right"] == {"class": pytest.approx(1 / 3), "macro": None}


def test_tables_files_and_arrays_give_the_same(tmp_path):
    TABLE.to_csv(tmp_path / "table.csv", index=False)
    aisles.Hierarchy.of(TREE).write(tmp_path / "tree.json")
    TABLE.assign(aisle=["SEAT", "SEAT", "SEAT"]).to_parquet(tmp_path / "table.parquet")
    one = aisles.rollup(TABLE, TREE, climb=0.8).table
    pd.testing.assert_frame_equal(
        aisles.rollup(tmp_path / "table.csv", tmp_path / "tree.json", climb=0.8).table, one
    )
    array = aisles.rollup(
        TABLE.iloc[:, 2:].to_numpy(), TREE, classes=["CHAIR", "LAMP", "SOFA"], climb=0.8
    ).table
    pd.testing.assert_frame_equal(array.drop(columns="file_name"), one.drop(columns=["file_name", "truth"]))


def many(n=2000, seed=0):
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet([0.4] * 5, size=n)
    truth = (probs.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(max=4)
    frame = pd.DataFrame({f"p:{name}": probs[:, i] for i, name in enumerate("abcde")})
    return frame.assign(file_name=[f"{seed}-{i}.jpg" for i in range(n)], truth=np.array(list("abcde"))[truth])


FIVE = {"x": ["a", "b"], "y": ["c", "d", "e"]}


def test_a_share_and_a_coverage_are_kept_on_new_images():
    found = aisles.rollup(many(20_000, 1), FIVE, calibration=many(), share=0.9, coverage=0.9)
    answered, right = found.metrics["answered"], found.metrics["right"]
    given = answered["class"] * right["class"] + answered["macro"] * right["macro"]
    assert given / (answered["class"] + answered["macro"]) > 0.9
    for kind, facts in found.metrics["sets"].items():
        assert facts["held"] > 0.88, kind
    assert found.metrics["sets"]["hierarchical"]["names"] < found.metrics["sets"]["flat"]["names"]
    assert "hierarchical sets (90% guaranteed)" in found.summary() and "confidence 90%" in found.summary()
    sets = found.table["hierarchical_set"]
    assert all(not {"a", "b"} & set(names) for names in sets if "x" in names)
    assert (sets.map(len) == 1).any() and max(map(len, sets)) <= 2


def test_images_of_one_product_are_told():
    known = many(200).assign(product=[f"P{i // 2}" for i in range(200)])
    found = aisles.rollup(many(50, 1), FIVE, calibration=known, coverage=0.8)
    assert "200 images of 100 products" in found.notes[0]


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"p:CHAIR": [np.nan, 0.5, 0.25]}, {}, "1 rows hold NaN or infinity, the first for 'a.jpg'"),
        ({"p:CHAIR": [0.9, 0.5, 0.25]}, {}, "1 rows do not sum to 1"),
        ({"p:CHAIR": [-0.75, 0.5, 0.25]}, {}, "1 rows hold negative numbers"),
        ({"p:DESK": [0.0] * 3}, {}, "1 classes that the hierarchy lacks"),
        ({}, {"coverage": 0.9}, "`coverage` is guaranteed by calibration images"),
        ({}, {"share": 0.9, "climb": 0.5}, "not both"),
        ({}, {"calibration": TABLE}, "give `share` or `coverage`"),
        ({}, {"calibration": TABLE.drop(columns="truth"), "coverage": 0.9}, "no truth, by which guarantees"),
        ({}, {"calibration": TABLE, "coverage": 0.9}, "at least 9 calibration images. Received: 3"),
        ({}, {"climb": 80}, "climb:0.8"),
    ],
)
def test_tables_and_options_that_make_no_sense_are_refused(change, options, message):
    with pytest.raises(ValueError, match=message):
        aisles.rollup(TABLE.assign(**change), TREE, **options)


def test_hierarchies_that_do_not_fit_are_refused(tmp_path):
    for given, message in (
        ({"SEAT": ["CHAIR"], "LIGHT": ["LAMP"]}, "1 classes that the hierarchy lacks.*SOFA"),
        ({"SEAT": ["CHAIR", "SOFA"], "LIGHT": ["LAMP", "SOFA"]}, "each class must stand in one macro"),
        (tmp_path / "no.json", "is not there"),
        ("aisle", "No table has the column"),
        (3, "can't be used"),
    ):
        with pytest.raises(DataError, match=message):
            aisles.rollup(TABLE, given)
    with pytest.raises(DataError, match="no probabilities"):
        aisles.rollup(TABLE.assign(answer="CHAIR").drop(columns=["p:CHAIR", "p:LAMP", "p:SOFA"]), TREE)


def test_the_command_prints_csv_json_and_a_summary(tmp_path):
    many(300).to_csv(tmp_path / "known.csv", index=False)
    many(20, 1).to_csv(tmp_path / "new.csv", index=False)
    aisles.Hierarchy.of(FIVE).write(tmp_path / "tree.json")
    start = [
        "rollup",
        str(tmp_path / "new.csv"),
        "--hierarchy",
        str(tmp_path / "tree.json"),
        "--climb",
        "0.6,0.8",
    ]
    start += ["--calibration", str(tmp_path / "known.csv"), "--coverage", "0.8"]
    expected = aisles.rollup(
        tmp_path / "new.csv", FIVE, climb=(0.6, 0.8), calibration=tmp_path / "known.csv", coverage=0.8
    )
    told = CliRunner().invoke(main, start)
    assert told.exit_code == 0 and told.output.rstrip("\n") == expected.summary()
    as_csv = CliRunner().invoke(main, [*start, "--csv"])
    rows = list(csv.DictReader(io.StringIO(as_csv.stdout)))
    as_json = [json.loads(line) for line in CliRunner().invoke(main, [*start, "--json"]).stdout.splitlines()]
    for row, line, given in zip(rows, as_json, expected.table.to_dict("records"), strict=True):
        assert line == {
            **given,
            "set": list(given["set"]),
            "hierarchical_set": list(given["hierarchical_set"]),
        }
        assert json.loads(row["set"]) == line["set"] and row["answer"] == (given["answer"] or "")
        assert float(row["macro_probability"]) == pytest.approx(given["macro_probability"], rel=1e-8)
    for name in ("answers.csv", "answers.json", "answers.jsonl", "answers.parquet"):
        assert CliRunner().invoke(main, [*start, "-o", str(tmp_path / name)]).exit_code == 0
    read = pd.read_parquet(tmp_path / "answers.parquet")
    assert read["answer"].fillna("").tolist() == expected.table["answer"].fillna("").tolist()
    assert (tmp_path / "answers.csv").read_text(encoding="utf-8") == as_csv.stdout
    bad = CliRunner().invoke(main, [*start, "-o", str(tmp_path / "answers.xlsx")])
    assert bad.exit_code == 3 and ".parquet" in bad.output
    assert CliRunner().invoke(main, [*start[:4], "--climb", "high"]).exit_code == 2


def test_rolling_up_loads_no_network(tmp_path):
    TABLE.to_csv(tmp_path / "table.csv", index=False)
    aisles.Hierarchy.of(TREE).write(tmp_path / "tree.json")
    code = (
        "import sys, aisles\n"
        f"aisles.rollup({str(tmp_path / 'table.csv')!r}, {str(tmp_path / 'tree.json')!r})\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
