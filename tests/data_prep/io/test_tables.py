"""CSV files that people open in spreadsheets: no text in them is a formula, and every text is read back exactly."""

import csv

import numpy as np
import pandas as pd
import pytest

from aisles.data_prep.io.escaping import (
    file_name_restored,
    file_name_safe,
    formula_restored,
    formula_safe,
    spreadsheet_safe,
)
from aisles.data_prep.io.tables import read_table, restored_table, spreadsheet_table, write_table

FORMULAS = ["=1+2", "=cmd|' /C calc'!A0", "@SUM(A1)", "+SUM(A1)", "-2+3", "\t=1", "\r=1", "\uff1d1"]
"""Texts that some spreadsheet computes."""
PLAIN = ["", "a=1", "-5", "+1e3", "-0.5", "'quoted'", "it's", "./x", "x", "NA", "\u00e9t\u00e9", "#1", "$5"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_gets_an_apostrophe_and_comes_back(text):
    assert formula_safe(text) == f"'{text}"
    for marked in (text, f"'{text}", f"''{text}"):
        assert formula_safe(marked)[0] == "'" and formula_restored(formula_safe(marked)) == marked
    assert file_name_safe(text) == f"./{text}" and file_name_restored(f"./{text}") == text


@pytest.mark.parametrize("text", PLAIN)
def test_other_texts_stay_as_they_are(text):
    assert formula_safe(text) == formula_restored(text) == text
    assert file_name_restored(text) == text
    assert file_name_safe(text) == text or text[:1] in "+-"  # names of files are no numbers


def test_numbers_stay_numbers_in_reports():
    assert spreadsheet_safe("-5") == "-5" and spreadsheet_safe("-5+1") == "'-5+1"


def test_a_table_is_written_without_a_formula_and_read_back_exactly(tmp_path):
    texts = FORMULAS + PLAIN
    table = pd.DataFrame({"file_name": [f"{t}.jpg" for t in texts], "label": texts, "n": range(len(texts))})
    write_table(tmp_path / "table.csv", table)
    with open(tmp_path / "table.csv", encoding="utf-8", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert [cell for cell in cells if formula_safe(cell) != cell and not cell.startswith("'")] == []
    back = read_table(tmp_path / "table.csv", ["n"])
    pd.testing.assert_frame_equal(back, table, check_dtype=False)


def test_tables_without_formulas_and_their_numbers_are_not_touched():
    table = pd.DataFrame(
        {"label": pd.Categorical(["a", "b"]), "p": np.float32([-0.5, 0.5]), "m": [None, 1.5]}
    )
    assert spreadsheet_table(table) is table and restored_table(table) is table
    odd = pd.DataFrame({"label": pd.Categorical(["=a", "b", "=a"])})
    assert spreadsheet_table(odd)["label"].tolist() == ["'=a", "b", "'=a"]
