"""What a head says of some of the images."""

import numpy as np
import pytest

from aisles.models.heads import predicted_rows
from aisles.models.heads.predicted_rows import PredictedRows, load_table, of_rows, save_table

TABLE = np.arange(8, dtype=np.float32).reshape(4, 2)
ROWS = np.array([2, 3, 7, 9])


def test_rows_are_found_by_the_numbers_of_all_images():
    some = of_rows(ROWS, TABLE)
    np.testing.assert_array_equal(some[np.array([9, 2])], [[6, 7], [0, 1]])
    assert some[ROWS.copy()] is TABLE  # all of them are not copied
    assert of_rows(None, TABLE) is TABLE


@pytest.mark.parametrize("rows", [[0], [4, 7], [10]])
def test_a_row_that_was_not_predicted_is_refused(rows):
    with pytest.raises(IndexError, match="validation and test images alone"):
        of_rows(ROWS, TABLE)[np.array(rows)]


@pytest.mark.parametrize("large", [1, 10**9])
def test_a_table_comes_back_from_its_folder_and_a_large_one_stays_on_disk(tmp_path, monkeypatch, large):
    monkeypatch.setattr(predicted_rows, "LARGE", large)
    save_table(PredictedRows(ROWS, TABLE.astype(np.float64)), tmp_path, "probs")
    save_table(TABLE, tmp_path, "val_probs")
    found, whole = load_table(tmp_path, "probs"), load_table(tmp_path, "val_probs")
    np.testing.assert_array_equal(found[np.array([3, 7])], TABLE[1:3])
    np.testing.assert_array_equal(whole, TABLE)
    assert isinstance(whole, np.memmap) == (large == 1)
    assert found[ROWS].dtype == np.float32
