import os
import tarfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from aisles.data_prep.images.columns import COLUMNS, complete_table
from aisles.data_prep.images.manifest import Manifest, read_manifest, write_manifest
from aisles.data_prep.io.errors import DataError


def image(path, color="red"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), color).save(path)
    return path


def manifest_csv(folder, text, encoding="utf-8"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metadata.csv").write_bytes(text.encode(encoding))
    return folder / "metadata.csv"


def read(folder, text, **options):
    return read_manifest(manifest_csv(folder, text), check_files=False, **options)


def test_a_csv_and_its_folder_give_the_same_table(tmp_path):
    image(tmp_path / "a.png")
    image(tmp_path / "b.png")
    path = manifest_csv(tmp_path, "label,file_name\nx,a.png\ny,b.png\n")
    by_file, by_folder = read_manifest(path), read_manifest(tmp_path)
    pd.testing.assert_frame_equal(by_file.table, by_folder.table)
    assert tuple(by_file.table.columns) == COLUMNS
    assert by_file.classes == ("x", "y")
    assert by_file.paths == [tmp_path / "a.png", tmp_path / "b.png"]


def test_numeric_looking_and_na_looking_text_stays_text(tmp_path):
    m = read(tmp_path, "file_name,label,product\n007.jpg,NA,1e5\n008.jpg,null,0012\n")
    assert m.table["file_name"].tolist() == ["007.jpg", "008.jpg"]
    assert m.classes == ("NA", "null")
    assert m.products.tolist() == ["1e5", "0012"]


def test_a_missing_product_means_every_image_its_own_and_is_noted(tmp_path):
    m = read(tmp_path, "file_name,label\na.jpg,x\nb.jpg,y\n")
    assert m.products.tolist() == ["a.jpg", "b.jpg"]
    assert "Every image counts as its own product" in m.notes[0]
    m = read(tmp_path, "file_name,label,product\na.jpg,x,p\nb.jpg,y,\n")
    assert m.products.tolist() == ["p", "b.jpg"]
    assert "Each of 1 images" in m.notes[0]


def test_similarity_is_a_number_or_missing(tmp_path):
    m = read(tmp_path, "file_name,label,similarity\na.jpg,x,0.25\nb.jpg,y,\n")
    assert m.table["similarity"].iloc[0] == 0.25
    assert np.isnan(m.table["similarity"].iloc[1])
    with pytest.raises(DataError, match="similarity must be a number or empty. Received: 'high'"):
        read(tmp_path, "file_name,label,similarity\na.jpg,x,high\nb.jpg,y,\n")


def test_a_label_column_is_no_question_for_class_folders(tmp_path):
    for label in "ab":
        (tmp_path / label).mkdir()
        (tmp_path / label / "x.jpg").touch()
    with pytest.raises(DataError, match="Only a manifest has columns.*'coarse'.*without metadata.csv"):
        read_manifest(tmp_path, label_column="coarse")
    assert read_manifest(tmp_path, label_column="label").classes == ("a", "b")


def test_extra_columns_and_other_label_columns(tmp_path):
    text = "file_name,label,coarse\na.jpg,x,A\nb.jpg,y,A\nc.jpg,z,B\n"
    assert read(tmp_path, text).table["coarse"].tolist() == ["A", "A", "B"]
    coarse = read(tmp_path, text, label_column="coarse")
    assert coarse.classes == ("A", "B")
    assert coarse.table["original_label"].tolist() == ["x", "y", "z"]
    with pytest.raises(DataError, match=r"no column 'fine'.*Found: \['file_name', 'label', 'coarse'\]"):
        read(tmp_path, text, label_column="fine")


def test_byte_order_marks_and_backslashes_and_split_names_are_understood(tmp_path):
    text = "\ufefffile_name,label,split\na\\été 1.jpg,x,Train\nb.jpg, y ,validation\nc.jpg,y,TEST\n"
    m = read(tmp_path, text)
    assert m.table["file_name"].tolist()[0] == "a/été 1.jpg"
    assert m.classes == ("x", "y")
    assert m.splits.tolist() == ["train", "val", "test"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("file_name,label\n", "no rows"),
        ("file,label\na.jpg,x\n", r"missing: \['file_name'\]. Found: \['file', 'label'\]"),
        ("file_name;label\na.jpg;x\n", "Separate columns by commas"),
        ("file_name,label\na.jpg,x\nb.jpg,\n", "needs a label. Empty in 1 rows, the first is row 2"),
        ("file_name,label\n,x\nb.jpg,y\n", "needs a file_name"),
        ("file_name,label\na.jpg,x\na.jpg,y\n", "Repeated: 'a.jpg'"),
        (
            "file_name,label,split\na.jpg,x,train\nb.jpg,y,holdout\n",
            "train, val or test. Received: 'holdout'",
        ),
        ("file_name,label,split\na.jpg,x,train\nb.jpg,y,\n", "1 of 2 rows have no split"),
        ("file_name,label\na.jpg,x\nb.jpg,x\n", "at least 2 classes.*Found 1: 'x'"),
        ("file_name,label\na.jpg,x\nb.jpg,x,1,2,3\nc,d\n", "must have 2 cells.* Row 2 .* has 5"),
        ("file_name,label\na.jpg\nb.jpg,x\n", "must have 2 cells.* Row 1 .* has 1"),
        ("file_name,label,label\na.jpg,x,y\n", "column names must differ"),
        ('file_name,label\n"a.jpg,x\nb.jpg,y\n', "not a regular CSV"),
    ],
)
def test_bad_manifests_are_refused_with_rule_and_evidence(tmp_path, text, reason):
    with pytest.raises(DataError, match=reason):
        read(tmp_path, text)


def test_empty_cells_and_lines_too_many_do_no_harm(tmp_path):
    assert len(read(tmp_path, "file_name,label\r\na.jpg,x,\r\n\r\nb.jpg,y,,\r\n")) == 2


def test_other_encodings_are_refused(tmp_path):
    path = manifest_csv(tmp_path, "file_name,label\né.jpg,x\nb.jpg,y\n", "latin-1")
    with pytest.raises(DataError, match="must be UTF-8"):
        read_manifest(path)


def test_missing_files_are_named(tmp_path):
    image(tmp_path / "a.png")
    manifest_csv(tmp_path, "file_name,label\na.png,x\nb.png,y\n")
    with pytest.raises(DataError, match="Missing below .*: 1 of 2: 'b.png'"):
        read_manifest(tmp_path)
    assert len(read_manifest(tmp_path, check_files=False)) == 2


def test_members_of_a_tar_outside_the_folder_count_as_files(tmp_path):
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        tar.add(image(tmp_path / "été 1.png"), "in/été 1.png")
    folder = tmp_path / "here"
    text = f"file_name,label\n../t.tar/in/été 1.png,x\n{tmp_path}/été 1.png,y\n"
    manifest = read_manifest(manifest_csv(folder, text))
    assert len(manifest) == 2
    manifest_csv(folder, text.replace("in/", "out/"))
    with pytest.raises(DataError, match="Missing"):
        read_manifest(folder)


def test_class_folders_are_read_in_sorted_order(tmp_path):
    for name in ("b/2.png", "b/10.png", "a/x.PNG", "a/deep er/ü.png"):
        image(tmp_path / name)
    (tmp_path / "a/notes.txt").write_text("no image")
    (tmp_path / ".hidden").mkdir()
    image(tmp_path / "a/._2.png")
    (tmp_path / "c").mkdir()
    m = read_manifest(tmp_path)
    assert m.table["file_name"].tolist() == ["a/deep er/ü.png", "a/x.PNG", "b/10.png", "b/2.png"]
    assert m.labels.tolist() == ["a", "a", "b", "b"]
    assert set(m.splits) == {""}
    assert any("No images in: 'c'" in note for note in m.notes)
    assert any("passed over" in note and ": 1 " in note for note in m.notes)


def test_split_folders_are_read_as_splits(tmp_path):
    for split in ("train", "valid", "test"):
        for label in ("a", "b"):
            image(tmp_path / split / label / "1.png")
    m = read_manifest(tmp_path)
    assert m.splits.tolist() == ["test", "test", "train", "train", "val", "val"]
    assert m.classes == ("a", "b")
    assert read_manifest(tmp_path / "train").classes == ("a", "b")


def test_a_class_called_train_is_a_class(tmp_path):
    for name in ("train/1.png", "bus/1.png"):
        image(tmp_path / name)
    assert read_manifest(tmp_path).classes == ("bus", "train")


def test_folders_without_use_are_refused(tmp_path):
    with pytest.raises(DataError, match="has 0 files, but no folders"):
        read_manifest(tmp_path)
    image(tmp_path / "1.png")
    with pytest.raises(DataError, match="has 1 files, but no folders"):
        read_manifest(tmp_path)
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match="1 folders, but no images"):
        read_manifest(tmp_path)
    image(tmp_path / "a/1.png")
    with pytest.raises(DataError, match="at least 2 classes"):
        read_manifest(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        read_manifest(tmp_path / "nowhere")
    with pytest.raises(DataError, match="neither a manifest"):
        read_manifest(tmp_path / "1.png")


def test_writing_and_reading_give_the_same_table(tmp_path):
    text = (
        'file_name,label,product,split,source,similarity,note\n"a, b.jpg",x,p,train,main,0.1,"say ""hi"""\n'
    )
    m = read(tmp_path / "in", text + "c.jpg,é,,test,,,\n")
    path = write_manifest(m, tmp_path / "in" / "again.csv")
    again = read_manifest(path, check_files=False)
    pd.testing.assert_frame_equal(again.table, m.table)
    assert again.fingerprint() == m.fingerprint()


def test_a_manifest_written_elsewhere_still_finds_its_files(tmp_path):
    for name in ("in/a/1.png", "in/b/1.png"):
        image(tmp_path / name)
    m = read_manifest(tmp_path / "in")
    moved = read_manifest(write_manifest(m, tmp_path / "out/deep/m.csv"))
    assert moved.table["file_name"].tolist() == ["../../in/a/1.png", "../../in/b/1.png"]
    assert [os.path.realpath(path) for path in moved.paths] == [os.path.realpath(path) for path in m.paths]


def test_the_fingerprint_changes_with_what_matters_only(tmp_path):
    m = read(tmp_path, "file_name,label,other\na.jpg,x,1\nb.jpg,y,2\n")
    assert m.with_columns("a note", other=["3", "4"]).fingerprint() == m.fingerprint()
    changed = [
        m.with_columns(label=["y", "x"]).fingerprint(),
        m.with_columns(split=["train", "test"]).fingerprint(),
        m.with_columns(product=["p", "p"]).fingerprint(),
        m.keep([True, False]).fingerprint(),
        m.fingerprint(["00", "11"]),
        m.fingerprint(),
    ]
    assert len(set(changed)) == len(changed)


def test_keeping_rows_numbers_them_anew_and_notes_why(tmp_path):
    m = read(tmp_path, "file_name,label\na.jpg,x\nb.jpg,y\nc.jpg,y\n")
    kept = m.keep(np.array([False, True, True]), "1 dropped")
    assert kept.table.index.tolist() == [0, 1]
    assert kept.table["file_name"].tolist() == ["b.jpg", "c.jpg"]
    assert kept.notes[-1] == "1 dropped"
    assert len(m) == 3


def test_a_table_from_elsewhere_is_completed():
    frame = pd.DataFrame({"file_name": ["a", "b"], "label": [1, 2], "source": ["main", None]}, index=[5, 9])
    table, notes, _ = complete_table(frame)
    assert table["label"].tolist() == ["1", "2"]
    assert table["source"].tolist() == ["main", ""]
    assert table.index.tolist() == [0, 1]
    assert len(notes) == 1


def test_the_grocery_photographs_are_read(shared):
    folder = shared / "data/grocery"
    if not folder.is_dir():
        pytest.skip("no grocery photographs here")
    m = read_manifest(folder)
    assert isinstance(m, Manifest)
    assert pd.Series(m.splits).value_counts().to_dict() == {"train": 2640, "test": 2485, "val": 296}
    assert len(m.classes) == 81
    assert len(read_manifest(folder, label_column="coarse_label").classes) == 43


def test_splits_beside_other_folders_are_refused(tmp_path):
    for name in ("train/a", "train/b", "test/a", "test/b", "icons"):
        (tmp_path / name).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name / "x.png")
    with pytest.raises(DataError, match=r"Splits: \['test', 'train'\]; others: \['icons'\]"):
        read_manifest(tmp_path)


def test_blanks_around_a_files_name_count_only_where_there_is_such_a_file(tmp_path):
    for name in ("a.png", " b.png", "b.png", "c.png"):
        image(tmp_path / name)
    path = manifest_csv(tmp_path, "file_name,label\n a.png,x\n b.png,y\nc.png ,y\n")
    assert read_manifest(path).table["file_name"].tolist() == ["a.png", " b.png", "c.png"]
    path = manifest_csv(tmp_path, "file_name,label\na.png,x\n d.png,y\n")
    with pytest.raises(DataError, match="Missing below .*: 1 of 2: ' d.png'"):
        read_manifest(path)
