"""Columns and cells as people write them: what is understood, what is said, what is refused."""

import unicodedata

import pytest
from PIL import Image

from aisles.data_prep.images.manifest import read_manifest
from aisles.data_prep.images.split_names import looks_like_split, split_named
from aisles.data_prep.io.errors import DataError


def read(folder, text, **options):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metadata.csv").write_text(text, encoding="utf-8")
    return read_manifest(folder, check_files=False, **options)


def told(manifest, words):
    return [warning for warning in manifest.warnings if words in warning]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("Train", "train"), ("test_set", "test"), ("valid", "val"), ("TestImages", "test"), ("trainset", "train"),
        ("trains", ""), ("toy train", ""), ("test2", ""), ("contest", ""), ("set", ""), ("", ""),
    ],
)  # fmt: skip
def test_names_mean_splits_only_where_nothing_else_stands_beside(name, split):
    assert split_named(name) == split


def test_names_that_look_like_splits_are_told_from_ordinary_ones():
    names = ["test2", "train_a", "holdout", "Train", "Toy Train", "contest", "data", "dev kit"]
    assert [name for name in names if looks_like_split(name)] == ["test2", "train_a", "holdout", "Train"]


@pytest.mark.parametrize("column", ["Split", "subset", "partition", "data_split", "whatever"])
def test_a_split_column_of_another_name_is_used_and_noted(tmp_path, column):
    m = read(tmp_path, f"file_name,label,{column}\na.jpg,x,train\nb.jpg,y,TEST\nc.jpg,y,train\n")
    assert m.splits.tolist() == ["train", "test", "train"]
    assert f"The column {column!r} is taken for the split." in m.notes


@pytest.mark.parametrize(("column", "values"), [("fold", "123"), ("is_test", "010"), ("subset", "aab")])
def test_a_column_that_looks_like_a_split_and_is_not_used_is_said(tmp_path, column, values):
    rows = "".join(f"{i}.jpg,{i},{value}\n" for i, value in enumerate(values))
    m = read(tmp_path, f"file_name,label,{column}\n{rows}")
    assert set(m.splits) == {""}
    assert told(m, f"look like a split and are not used: {column!r}")


def test_a_column_of_classes_called_train_and_test_is_no_split(tmp_path):
    m = read(tmp_path, "file_name,label,split,vehicle\na.jpg,x,train,train\nb.jpg,y,test,bus\n")
    assert m.splits.tolist() == ["train", "test"] and not m.warnings


def test_missing_products_written_as_text_are_missing_and_said(tmp_path):
    m = read(tmp_path, "file_name,label,product\na.jpg,x,nan\nb.jpg,y,nan\nc.jpg,y,N/A\nd.jpg,y,p\n")
    assert m.products.tolist() == ["a.jpg", "b.jpg", "N/A", "p"]
    assert told(m, "2 images whose product is written as 'nan' count as products of their own")


def test_class_names_get_one_form_where_that_is_safe(tmp_path):
    decomposed = unicodedata.normalize("NFD", "Café")
    m = read(
        tmp_path,
        f"file_name,label\na.jpg,Café\nb.jpg,{decomposed}\nc.jpg,Red  apple\u200b\nd.jpg,Red apple\n",
    )
    assert m.classes == ("Café", "Red apple")
    assert any("composed letters and single blanks" in note for note in m.notes)


def test_class_names_that_differ_by_case_stay_apart_and_are_said(tmp_path):
    m = read(tmp_path, "file_name,label\na.jpg,Kiwi\nb.jpg,kiwi\nc.jpg,Plum\n")
    assert m.classes == ("Kiwi", "Plum", "kiwi")
    assert told(m, "by case or form alone are several classes: 'Kiwi', 'kiwi'")


@pytest.mark.parametrize("other", ["./k/1.jpg", "b/../k/1.jpg", "k//1.jpg", "k\\1.jpg", "{root}/k/1.jpg"])
def test_one_file_in_two_spellings_is_listed_twice(tmp_path, other):
    text = f"file_name,label\nk/1.jpg,x\n{other.format(root=tmp_path)},y\n"
    with pytest.raises(DataError, match="listed once. Repeated: 'k/1.jpg'"):
        read(tmp_path, text)


def test_labels_from_another_column_keep_the_old_ones_whatever_they_are_called(tmp_path):
    text = "file_name,label,original_label,coarse\na.jpg,x,old-x,A\nb.jpg,y,old-y,B\n"
    m = read(tmp_path, text, label_column="coarse")
    assert m.classes == ("A", "B")
    assert m.table["original_label"].tolist() == ["old-x", "old-y"]
    assert m.table["original_label_2"].tolist() == ["x", "y"]
    m = read(tmp_path, text, label_column="original_label")
    assert m.classes == ("old-x", "old-y") and m.table["original_label_2"].tolist() == ["x", "y"]


def test_images_known_at_macro_level_only_are_kept_apart(tmp_path):
    text = "file_name,label,aisle\na.jpg,x,A\nb.jpg,y,B\nc.jpg,,A\n"
    m = read(tmp_path, text, hierarchy_column="aisle")
    assert m.table["file_name"].tolist() == ["a.jpg", "b.jpg"]
    assert m.coarse_only is not None
    assert m.coarse_only[["file_name", "aisle"]].to_numpy().tolist() == [["c.jpg", "A"]]
    assert any("1 images are known by their 'aisle' alone" in note for note in m.notes)
    with pytest.raises(DataError, match="every row needs a label"):
        read(tmp_path, text)
    with pytest.raises(DataError, match="no column 'isle' to take macro-categories from"):
        read(tmp_path, text, hierarchy_column="isle")
    with pytest.raises(DataError, match="with a class and without one: 'a.jpg'"):
        read(tmp_path, text + "./a.jpg,,A\n", hierarchy_column="aisle")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("file_name\tlabel\na\tx\n", "divided by tabs.*Separate columns by commas"),
        ("File_Name,Label\na,x\n", "Did you mean 'File_Name' for file_name.*'Label' for label"),
        ("image path,category\na,x\n", "Did you mean 'image path' for file_name.*'category' for label"),
        ('file_name,label,title\na,x,t\nb,y,"24" TV"\n', 'in or before line 3, row 2 of the data.*24""'),
    ],
)
def test_tables_of_other_forms_are_refused_with_the_cause(tmp_path, text, reason):
    with pytest.raises(DataError, match=f"(?s){reason}"):
        read(tmp_path, text)


def test_a_line_that_tells_the_separator_is_understood(tmp_path):
    m = read(tmp_path, 'sep=;\nfile_name;label\na.jpg;x\n"b,1.jpg";y\n')
    assert m.table["file_name"].tolist() == ["a.jpg", "b,1.jpg"]
    assert read(tmp_path, '"sep=,"\nfile_name,label\na.jpg,x\nb.jpg,y\n').classes == ("x", "y")


def class_folders(root, *labels):
    for label in labels:
        (root / label).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(root / label / "1.png")


def test_images_that_no_row_lists_are_counted_and_said(tmp_path):
    class_folders(tmp_path, "a", "b", "c")
    m = read(tmp_path, "file_name,label\na/1.png,a\nb/1.png,b\n")
    assert told(m, "1 images below") and told(m, "all of 'c': 'c/1.png'")
    m = read(tmp_path, "file_name,label\na/1.png,a\nb/1.png,b\nc/1.png,b\n")
    assert not m.warnings


def test_a_foreign_table_over_class_folders_says_that_they_can_be_read(tmp_path):
    class_folders(tmp_path, "a", "b")
    with pytest.raises(DataError, match="missing.*class folders beside it.*rename or move it"):
        read(tmp_path, "id,price\n1,2\n")
