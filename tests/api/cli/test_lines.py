"""Finding images, and printing what is said of them."""

import csv
import io
import json
import os
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image

from aisles.cli.lines import _json_line, find_images, print_predictions
from aisles.cli.names import read_names
from aisles.data_prep.io.files import image_limit
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.models.prediction.two_stage import TwoStageClassifier


@pytest.fixture
def folder(tmp_path):
    """Five images in two folders, a text that calls itself an image, and what is to be passed over."""
    for name in ("a.png", "b.JPG", "deep/c.png", "deep/deeper/d.png", "[x].png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (len(name) * 9, 40, 0)).save(path, "PNG")
    (tmp_path / "broken.jpg").write_text("not an image")
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / ".hidden.png").write_bytes((tmp_path / "a.png").read_bytes())
    return tmp_path


@pytest.fixture
def classifier():
    def red(pixels):
        share = pixels[..., 0].mean((1, 2)) / 255
        return np.c_[share, 1 - share]

    hierarchy = Hierarchy(("M", "N"), (("a", "b"), ("c",)))
    return TwoStageClassifier.from_models(
        (red, ["M", "N"]), {"M": (red, ["a", "b"])}, hierarchy, input_size=(4, 4), rule="soft"
    )


def names(sources, folder):
    return [path.relative_to(folder).as_posix() for path in find_images(map(str, sources))]


def test_a_folder_means_every_image_below_it_by_name(folder):
    expected = ["[x].png", "a.png", "b.JPG", "broken.jpg", "deep/c.png", "deep/deeper/d.png"]
    assert names([folder], folder) == expected


def test_patterns_are_matched_and_files_with_brackets_are_files(folder):
    assert names([folder / "*.png"], folder) == ["[x].png", "a.png"]
    assert names([folder / "**" / "*.png"], folder) == ["[x].png", "a.png", "deep/c.png", "deep/deeper/d.png"]
    assert names([folder / "[x].png"], folder) == ["[x].png"]


def test_names_come_from_standard_input_one_at_a_time(folder, monkeypatch):
    lines = iter([f"{folder / 'a.png'}\n", "\n", "with space .png\r\n"])
    monkeypatch.setattr("sys.stdin", lines)
    found = find_images(["-"])
    assert next(found) == folder / "a.png"
    assert list(found) == [Path("with space .png")]


def printed(classifier, sources, capsys, **options):
    counts = print_predictions(classifier, find_images(map(str, sources)), **options)
    return counts, capsys.readouterr().out


def test_json_lines_hold_every_field(classifier, folder, capsys):
    counts, out = printed(classifier, [folder / "a.png", folder / "b.JPG"], capsys, form="json", top=2)
    rows = [json.loads(line) for line in out.splitlines()]
    assert counts.read == 2 and [Path(row["file_name"]).name for row in rows] == ["a.png", "b.JPG"]
    assert set(rows[0]) == {
        "file_name", "macro", "macro_probability", "label", "probability", "top", "path", "answered", "rule"
    }  # fmt: skip
    assert len(rows[0]["top"]) == 2


def test_csv_can_be_read_back(classifier, folder, capsys):
    _, out = printed(classifier, [folder / "a.png"], capsys, form="csv", rule="climb:0.99")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert len(rows) == 1 and rows[0]["file_name"].endswith("a.png")
    assert rows[0]["answered"] == "none" and rows[0]["label"] == ""
    (prediction,) = classifier.predict([folder / "a.png"], rule="climb:0.99")
    top = json.loads(rows[0]["top"])
    assert [label for label, _ in top] == [label for label, _ in prediction.top]
    assert [share for _, share in top] == pytest.approx([share for _, share in prediction.top], rel=1e-5)


ODD = (
    "two\nlines.png",
    "return\rhere.png",
    'quote",.png',
    "red\x1b[31m.png",
    "csi\x9b2J.png",
    "r\u202egnp.png",
)


@pytest.fixture
def odd(folder):
    for name in ODD:
        (folder / name).write_bytes((folder / "a.png").read_bytes())
    return [folder / name for name in ODD]


def test_csv_and_json_keep_every_name_exactly(classifier, odd, capsysbinary):
    print_predictions(classifier, odd, form="csv")
    out = capsysbinary.readouterr().out.decode("utf-8")
    rows = list(csv.DictReader(io.StringIO(out, newline="")))
    assert [row["file_name"] for row in rows] == list(map(str, odd))
    print_predictions(classifier, odd, form="json")
    out = capsysbinary.readouterr().out.decode("utf-8")
    assert [json.loads(line)["file_name"] for line in out.splitlines()] == list(map(str, odd))
    assert all(each.isprintable() or each == "\n" for each in out)


def test_no_name_and_no_label_can_forge_a_line_or_command_a_terminal(odd, folder, capsys, caplog):
    hierarchy = Hierarchy(("M\nforged.png: N 1.00", "N"), (("a\x1b[2J", "b"), ("c",)))
    certain = TwoStageClassifier.from_models(
        (lambda pixels: np.tile([1.0, 0.0], (len(pixels), 1)), list(hierarchy.macros)),
        {hierarchy.macros[0]: (lambda pixels: np.tile([1.0, 0.0], (len(pixels), 1)), ["a\x1b[2J", "b"])},
        hierarchy,
        input_size=(4, 4),
        rule="soft",
    )
    (folder / "bad\x1b[31m\n.png").write_text("no image")
    counts = print_predictions(certain, [*odd, folder / "bad\x1b[31m\n.png"])
    lines = capsys.readouterr().out.splitlines()
    assert counts.read == len(odd) == len(lines)
    assert all(line.isprintable() for line in lines)
    assert lines[0].endswith(r"two\nlines.png: M\nforged.png: N 1.00 1.00 > a\x1b[2J 1.00")
    assert all(record.getMessage().isprintable() for record in caplog.records) and caplog.records


def test_csv_on_a_terminal_is_printable(classifier, odd, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    print_predictions(classifier, odd, form="csv")
    assert all(line.isprintable() for line in capsys.readouterr().out.splitlines())


def test_names_that_end_in_nul_may_hold_anything_else(classifier, odd, monkeypatch, capsys):
    given = b"\0".join(os.fsencode(path) for path in odd)
    for ending in (b"", b"\0"):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given + ending)))
        assert list(find_images(["-"], null=True)) == odd
    many = [Path(f"{'long' * 30}/{i}.png") for i in range(2000)]  # several reads, names across their borders
    given = b"".join(os.fsencode(path) + b"\0" for path in many)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given)))
    assert list(find_images(["-"], null=True)) == many


def test_unreadable_files_are_reported_and_counted_and_the_rest_goes_on(classifier, folder, capsys, caplog):
    sources = [folder / "broken.jpg", folder / "missing.png", folder / "a.png"]
    counts, out = printed(classifier, sources, capsys)
    assert (counts.total, counts.read, counts.unreadable) == (3, 1, 2)
    assert len(out.splitlines()) == 1 and "a.png: " in out
    assert "broken.jpg is text" in caplog.text and "missing.png can't be read" in caplog.text


def test_a_pattern_that_matches_nothing_is_a_file_that_cannot_be_read(classifier, folder, capsys, caplog):
    sources = [folder / "a.png", folder / "no*.gif", folder / "b.JPG"]
    counts, out = printed(classifier, sources, capsys)
    assert (counts.total, counts.read) == (3, 2)
    assert [line.partition(": ")[0] for line in out.splitlines()] == [str(sources[0]), str(sources[2])]
    assert "no*.gif can't be read: No such file" in caplog.text


@pytest.mark.parametrize("form", ["text", "json", "csv"])
def test_names_that_are_no_utf_8_give_lines_that_are(form, classifier, folder, monkeypatch, capsysbinary):
    name = os.path.join(os.fsencode(folder), b"caf\xe9 \xc3\xa9.png")
    os.link(folder / "a.png", name)
    given = io.TextIOWrapper(io.BytesIO(name + b"\n"), encoding="utf-8")
    monkeypatch.setattr("sys.stdin", given)
    counts = print_predictions(classifier, find_images(["-"]), form=form)
    out = capsysbinary.readouterr().out.decode("utf-8")  # strictly
    assert counts.read == 1 and "caf\\udce9 é.png" in out
    if form == "json":
        assert os.fsencode(json.loads(out)["file_name"]) == name


def test_what_is_no_number_never_becomes_json(classifier, folder):
    (prediction,) = classifier.predict([folder / "a.png"])
    with pytest.raises(ValueError, match="JSON compliant"):
        _json_line("a.png", replace(prediction, probability=float("nan")))


def test_lines_appear_as_batches_finish(classifier, folder, capsys):
    seen = []

    def slowly():
        for i in range(400):
            seen.append(capsys.readouterr().out.count("\n"))
            yield folder / ("a.png" if i % 2 else "b.JPG")

    print_predictions(classifier, slowly(), batch_size=8)
    assert sum(seen[:200]) > 100


class Pages(list):
    def add(self, path):
        self.append(path)


def test_a_page_gets_every_image_that_could_be_read(classifier, folder, capsys):
    pages = Pages()
    printed(classifier, [folder], capsys, page=pages)
    assert [path.name for path in pages] == ["[x].png", "a.png", "b.JPG", "c.png", "d.png"]


def given(data):
    """Return standard input that holds these bytes."""
    return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8")


NAMES = ["a.jpg", "with blank é.jpg", "日本.png"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_names_are_read_in_the_encodings_that_shells_write(encoding, end):
    assert list(read_names(given(end.join([*NAMES, ""]).encode(encoding)))) == NAMES
    assert list(read_names(given(end.join(NAMES).encode(encoding)))) == NAMES


def test_names_that_end_with_a_zero_byte_may_hold_line_breaks():
    data = b"a.jpg\0two\nlines.jpg\0caf\xe9.jpg\0" + b"x" * 70_000 + b"\0last"
    names = list(read_names(given(data), null=True))
    assert [os.fsencode(name) for name in names] == [name for name in data.split(b"\0") if name]


def test_zero_bytes_between_lines_are_refused_with_the_option_for_them():
    for data in (b"a.jpg\0b.jpg\0", "a.jpg\nb.jpg\n".encode("utf-16-le")):
        with pytest.raises(click.UsageError, match="Give -0"):
            list(read_names(given(data)))


def test_folders_behind_links_are_searched_and_circles_end(folder, tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    Image.new("RGB", (4, 4)).save(store / "e.png")
    (folder / "deep/link").symlink_to(store, target_is_directory=True)
    (folder / "deep/circle").symlink_to(folder, target_is_directory=True)
    assert names([folder / "deep"], folder) == [
        "deep/c.png", "deep/circle/[x].png", "deep/circle/a.png", "deep/circle/b.JPG", "deep/circle/broken.jpg",
        "deep/deeper/d.png", "deep/link/e.png",
    ]  # fmt: skip


def test_an_address_keeps_its_slashes_and_the_message_says_what_to_do(classifier, folder, capsys, caplog):
    counts, out = printed(classifier, ["https://example.com/a.jpg", folder / "a.png"], capsys)
    assert (counts.total, counts.read) == (2, 1)
    assert "https://example.com/a.jpg is an address; images are read from files" in caplog.text


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_special_and_huge_files_are_reported_and_the_others_answered(
    classifier, folder, capsys, caplog, monkeypatch
):
    os.mkfifo(folder / "pipe.jpg")
    (folder / "zero.jpg").symlink_to("/dev/zero")
    with (folder / "huge.jpg").open("wb") as file:
        file.truncate(30 << 30)
    counts, out = printed(classifier, [folder], capsys)
    assert counts.unreadable == 4 and len(out.splitlines()) == 5
    assert caplog.text.count("not a regular file") == 2
    assert "32,212,254,720 bytes; the limit is 536,870,912" in caplog.text
    monkeypatch.setenv("AISLES_IMAGE_LIMIT_MB", "40000")
    (folder / "huge.jpg").unlink()
    assert image_limit() == 40_000 << 20


@pytest.mark.parametrize("form", ["text", "json", "csv"])
def test_a_code_page_that_lacks_letters_costs_no_answer(form, classifier, folder, monkeypatch):
    os.link(folder / "a.png", folder / "日本.png")
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="cp1252"))
    counts = print_predictions(classifier, find_images([str(folder / "日本.png")]), form=form)
    assert counts.read == 1
    assert ("\\u65e5\\u672c" if form == "text" else "日本") in written.getvalue().decode("utf-8")


def test_no_row_of_csv_is_a_formula_and_names_still_open_their_files(classifier, folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    odd = ["=cmd|' !A0.png", "+1.png", "-2.png", "@x.png"]
    for name in odd:
        (folder / name).write_bytes((folder / "a.png").read_bytes())
    hierarchy = Hierarchy(("=M", "@N"), (("-a+b", "+b"), ("c",)))

    def red(pixels):
        share = pixels[..., 0].mean((1, 2)) / 255
        return np.c_[share, 1 - share]

    models = (red, ["=M", "@N"]), {"=M": (red, ["-a+b", "+b"])}
    formulas = TwoStageClassifier.from_models(*models, hierarchy, input_size=(4, 4), rule="soft")
    _, out = printed(formulas, odd, capsys, form="csv", top=3)
    rows = list(csv.reader(io.StringIO(out)))[1:]
    assert [row[0] for row in rows] == [f"./{name}" for name in odd] and all(
        Path(row[0]).is_file() for row in rows
    )
    assert {cell[:1] for row in rows for cell in row} <= set("'.[01cs")
    assert {row[2] for row in rows} <= {"'=M", "'@N"} and {row[4] for row in rows} <= {"'-a+b", "'+b", "c"}
    assert {label for row in rows for label, _ in json.loads(row[-1])} == {"-a+b", "+b", "c"}
