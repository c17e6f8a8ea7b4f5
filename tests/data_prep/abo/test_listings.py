import gzip
import io
import json
import os
import shutil
import tarfile
import time

import pytest

from aisles.data_prep.abo.listing_lines import LISTING_COLUMNS, parse_listing
from aisles.data_prep.abo.listings import index_catalogue, read_images, read_listings
from aisles.data_prep.abo.sources import find_image_root, find_listings, list_image_files
from aisles.data_prep.io.errors import DataError

IMAGES = b"image_id,height,width,path\n00123,10,20,aa/aa000001.jpg\n"


def parsed(**listing):
    return dict(
        zip(LISTING_COLUMNS, parse_listing(json.dumps({"item_id": "B1", **listing}).encode()), strict=True)
    )


def write_catalogue(folder, lines, images=IMAGES, zipped=True):
    (folder / "listings" / "metadata").mkdir(parents=True)
    (folder / "images" / "metadata").mkdir(parents=True)
    text = b"\n".join(lines) + b"\n"
    name = "listings_0.json.gz" if zipped else "listings_0.json"
    (folder / "listings" / "metadata" / name).write_bytes(gzip.compress(text) if zipped else text)
    (folder / "images" / "metadata" / "images.csv.gz").write_bytes(gzip.compress(images))
    return folder


def unpack(catalogue, target):
    for name in ("abo-listings.tar", "abo-images-small.tar"):
        with tarfile.open(catalogue / name) as tar:
            tar.extractall(target, filter="data")
    return target


def test_both_forms_of_product_type_mean_the_same():
    assert parsed(product_type=[{"value": "SHOES"}]) == parsed(product_type="SHOES")
    assert parsed(product_type="SHOES")["product_type"] == "SHOES"


def test_what_a_listing_leaves_out_is_empty():
    assert parsed() == dict.fromkeys(LISTING_COLUMNS, "") | {"item_id": "B1"}


def test_the_english_name_is_taken_or_else_the_first():
    german, english = (
        {"language_tag": "de_DE", "value": "Stuhl"},
        {"language_tag": "en_IN", "value": "A\n chair"},
    )
    assert parsed(item_name=[german, english])["item_name"] == "A chair"
    assert parsed(item_name=[german])["item_name"] == "Stuhl"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"item_id": "B1"', "delimiter"),
        (b'["B1"]', "a JSON list, not an object"),
        (b'{"country": "US"}', "no item_id"),
        (b'{"item_id": ["B1"]}', "item_id is .* not a text"),
        (b'{"item_id": "B1", "main_image_id": "a b"}', "main_image_id is 'a b'"),
        (b'{"item_id": "B1", "other_image_id": [{}]}', "other_image_id|not a text"),
        (b'{"item_id": "B1", "other_image_id": true}', "other_image_id is 'True', not a text"),
        (b'{"item_id": "B1", "other_image_id": 1.5}', "other_image_id is '1.5', not a list of ids"),
        (b'{"item_id": "B1", "other_image_id": {"a": "b"}}', "other_image_id is a dict, not a list of ids"),
        (b'{"item_id": "B1", "other_image_id": [["a"]]}', "other_image_id is a list, not a text"),
        (b'{"item_id": "B1", "main_image_id": {"a": "b"}}', "main_image_id is a dict"),
        (b'{"item_id": "B1", "main_image_id": false}', "no main_image_id"),
        (b'{"item_id": {"a": 1}}', "item_id is a dict"),
        (b'{"item_id": "B1", "product_type": [["SHOES"]]}', "product_type is a list"),
        (b'{"item_id": "B1", "product_type": {"value": {"a": 1}}}', "product_type is a dict"),
        (
            b'{"item_id": "B1", "main_image_id": ' + b"[" * 900 + b"]" * 900 + b"}",
            "main_image_id is a list|nested",
        ),
        (b"[" * 100_000, "nested too deeply|JSON"),
        (b"\xff\xfe{}", "decode|Expecting|item_id"),
    ],
)
def test_a_malformed_line_has_a_reason(line, reason):
    if b"[{}]" in line:  # an empty object is nothing, as a missing key is
        assert parse_listing(line)[0] == "B1"
        return
    with pytest.raises(ValueError, match=reason):
        parse_listing(line)


@pytest.mark.parametrize(
    "key", ["country", "domain_name", "item_id", "product_type", "main_image_id", "other_image_id"]
)
@pytest.mark.parametrize(
    "value", [0, 12, -1.5, True, False, None, {}, {"a": []}, [], [1], [None], [{"value": 3}], ""]
)
def test_no_value_of_any_field_stops_the_reading(key, value):
    line = json.dumps({"item_id": "B1", "item_name": value, key: value}).encode()
    try:
        row = parse_listing(line)
    except ValueError as error:
        assert key in str(error)
    else:
        assert all(isinstance(field, str) for field in row)


def test_an_image_id_alone_is_a_list_of_one():
    assert (
        parsed(other_image_id=123)["other_image_id"]
        == parsed(other_image_id=["123"])["other_image_id"]
        == "123"
    )
    assert parsed(other_image_id="a")["other_image_id"] == "a"


def test_malformed_lines_are_counted_and_a_byte_order_mark_costs_no_listing(tmp_path):
    lines = [
        b'\xef\xbb\xbf{"item_id": "B1"}',
        b'{"item_id": "B2", "other_image_id": 1.5}',
        b'{"item_id": "B3", "other_image_id": 12}',
        b'{"item_id": "B4", "other_image_id": {"a": 1}}',
        b'{"item_id": "B5", "item_name": 5}',
    ]
    found = index_catalogue(write_catalogue(tmp_path, lines))
    assert read_listings(found.folder)["item_id"].tolist() == ["B1", "B3", "B5"]
    bad = (found.folder / "malformed.csv").read_text().splitlines()[1:]
    assert [line.split(",")[1] for line in bad] == ["2", "4"] and "not a list of ids" in bad[0]


def test_malformed_lines_are_listed_with_file_and_line_and_nothing_else_is_lost(synthetic, catalogue):
    found = index_catalogue(catalogue)
    assert (found.n_listings, found.n_files) == (synthetic.n_listings, 16)
    lines = (found.folder / "malformed.csv").read_text().splitlines()[1:]
    assert [line.split(",")[:2] for line in lines] == [
        [name.rpartition("/")[2], str(number)] for name, number in synthetic.malformed
    ]


def test_ids_that_look_like_numbers_stay_text(catalogue):
    found = index_catalogue(catalogue)
    listings, images = read_listings(found.folder), read_images(found.folder)
    assert {"0312345678", "1234567890", "8100000001"} <= set(listings["item_id"])
    assert {"00123456789", "71000000e11"} <= set(listings["main_image_id"]) & set(images["image_id"])
    assert listings.map(lambda value: isinstance(value, str)).all().all()


def test_archives_unpacked_folders_and_plain_json_give_the_same_tables(catalogue, tmp_path):
    unpacked = unpack(catalogue, tmp_path / "unpacked")
    plain = shutil.copytree(unpacked, tmp_path / "plain")
    for path in (plain / "listings" / "metadata").iterdir():
        (plain / path.name.removesuffix(".gz")).write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    folders = [index_catalogue(folder).folder for folder in (catalogue, unpacked, plain)]
    for name in ("listings.csv", "images.csv"):
        first, *others = ((folder / name).read_bytes() for folder in folders)
        assert all(first == other for other in others)
    tar, loose = (list_image_files(find_image_root(folder)) for folder in (catalogue, unpacked))
    assert set(tar) == set(loose)


def test_processes_give_what_one_process_gives(catalogue, tmp_path, monkeypatch):
    index_catalogue(catalogue, tmp_path / "one", jobs=1)
    monkeypatch.setattr("aisles.data_prep.abo.listings._PARALLEL_FROM", 0)
    import joblib

    with joblib.parallel_config("threading"):
        index_catalogue(catalogue, tmp_path / "two", jobs=2)
    assert (tmp_path / "one" / "listings.csv").read_bytes() == (
        tmp_path / "two" / "listings.csv"
    ).read_bytes()


def test_an_unchanged_catalogue_is_not_read_again(catalogue):
    assert not index_catalogue(catalogue).reused
    assert index_catalogue(catalogue).reused
    (catalogue / "index" / "images.csv").unlink()
    assert not index_catalogue(catalogue).reused


def test_a_listing_without_main_image_and_one_with_a_lone_surrogate_are_read(tmp_path):
    lines = [b'{"item_id": "B1", "item_name": [{"language_tag": "en_US", "value": "a \\ud800 b"}]}', b""]
    found = index_catalogue(write_catalogue(tmp_path, lines))
    assert (found.n_listings, found.n_malformed) == (1, 0)
    assert read_listings(found.folder)["item_name"].tolist() == ["a ? b"]


def test_what_the_quick_reader_refuses_or_rounds_is_read_all_the_same(tmp_path):
    lines = [b'{"item_id": "B1", "main_image_id": %d, "x": NaN}' % (2**70), b""]
    found = index_catalogue(write_catalogue(tmp_path, lines))
    assert (found.n_listings, found.n_malformed) == (1, 0)
    assert read_listings(found.folder)["main_image_id"].tolist() == [str(2**70)]


def test_a_number_of_more_than_64_bits_stays_an_exact_id(tmp_path):
    found = index_catalogue(write_catalogue(tmp_path, [b'{"item_id": "B1", "main_image_id": %d}' % (2**70)]))
    assert read_listings(found.folder)["main_image_id"].tolist() == [str(2**70)]


def test_an_image_table_in_another_order_or_quoted_is_read(tmp_path):
    shuffled = b'\xef\xbb\xbfpath,image_id,more,width,height\r\n"aa/1.jpg",0012,"x, y",20,10\r\n\r\n'
    found = index_catalogue(write_catalogue(tmp_path, [b'{"item_id": "B1"}'], shuffled))
    assert read_images(found.folder).to_numpy().tolist() == [["0012", "10", "20", "aa/1.jpg"]]
    assert found.n_malformed == 0


def test_an_image_path_that_leads_elsewhere_is_not_taken(tmp_path):
    hostile = IMAGES + b"x,1,1,../../etc/passwd\ny,1,1,/etc/passwd\nz,1,1\n"
    found = index_catalogue(write_catalogue(tmp_path, [b'{"item_id": "B1"}'], hostile))
    assert read_images(found.folder)["image_id"].tolist() == ["00123"]
    assert found.n_malformed == 3


@pytest.mark.parametrize("zipped", [b"not gzip at all", gzip.compress(b"{}\n" * 99999)[:-100]])
def test_damaged_gzip_is_named(tmp_path, zipped):
    folder = write_catalogue(tmp_path, [b"{}"])
    (folder / "listings" / "metadata" / "listings_0.json.gz").write_bytes(zipped)
    with pytest.raises(DataError, match="listings_0.json.gz is damaged"):
        index_catalogue(folder)


def test_a_file_of_anything_but_listings_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("aisles.data_prep.abo.listing_lines.MALFORMED_LIMIT", 10)
    with pytest.raises(DataError, match="no listings; line 11"):
        index_catalogue(write_catalogue(tmp_path, [b"{}"] * 20))
    many = [b'{"item_id": "B1"}'] * 30 + [b"{}"] * 20
    assert index_catalogue(write_catalogue(tmp_path / "mostly", many)).n_malformed == 20


def test_a_gzip_bomb_is_refused_and_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr("aisles.data_prep.abo.sources.FREE_BYTES", 1 << 20)
    folder = write_catalogue(tmp_path, [b"{}"])
    bomb = gzip.compress(b'{"item_id": "B1"}\n' * 500_000)
    (folder / "listings" / "metadata" / "listings_0.json.gz").write_bytes(bomb)
    with pytest.raises(DataError, match="gzip bomb"):
        index_catalogue(folder)
    assert not list((folder / "index").glob("*"))


def test_a_line_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("aisles.data_prep.abo.sources.LINE_LIMIT", 1000)
    monkeypatch.setattr("aisles.data_prep.abo.sources.CHUNK_BYTES", 512)
    with pytest.raises(DataError, match="line of more than"):
        index_catalogue(write_catalogue(tmp_path, [b'"' + b"a" * 5000]))


@pytest.mark.parametrize("name", ["../listings_0.json", "/listings_0.json"])
def test_a_hostile_archive_is_refused(tmp_path, name):
    with tarfile.open(tmp_path / "abo-listings.tar", "w") as tar:
        member = tarfile.TarInfo(name)
        member.size = 3
        tar.addfile(member, io.BytesIO(b"{}\n"))
    with pytest.raises(DataError, match="abo-listings.tar"):
        find_listings(tmp_path)


def test_a_folder_without_a_catalogue_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match="aisles data fetch"):
        index_catalogue(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("abo-listings.tar", "abo-listings.tar holds no listings_.*begin with 'notes.txt'.*--only listings"),
        (
            "abo-images-small.tar",
            "abo-images-small.tar holds no images/metadata/images.csv.gz.*--only images",
        ),
    ],
)
def test_an_archive_of_something_else_is_named(catalogue, name, message):
    (catalogue / name).unlink()
    with tarfile.open(catalogue / name, "w") as tar:
        tar.addfile(tarfile.TarInfo("notes.txt"), io.BytesIO())
    with pytest.raises(DataError, match=message):
        index_catalogue(catalogue)


def test_the_archive_is_read_where_the_folder_beside_it_is_empty(catalogue):
    for empty in (catalogue / "images" / "small", catalogue / "images" / "small" / "8c"):
        empty.mkdir(parents=True)
        assert find_image_root(catalogue) == catalogue / "abo-images-small.tar" / "images" / "small"
    (catalogue / "abo-images-small.tar").unlink()
    with pytest.raises(DataError, match="nor images in images/small"):
        find_image_root(catalogue)


def test_a_catalogue_that_can_not_be_written_to_has_its_tables_in_the_cache(catalogue, tmp_path, monkeypatch):
    monkeypatch.setenv("AISLES_CACHE", str(tmp_path / "cache"))
    (catalogue / "index").write_text("in the way, as nothing else stops a test that root runs")
    found = index_catalogue(catalogue)
    assert (tmp_path / "cache") in found.folder.parents
    assert len(read_listings(found.folder)) == found.n_listings
    assert index_catalogue(catalogue).reused
    (catalogue / "index").unlink()
    assert index_catalogue(catalogue).reused and not (catalogue / "index").exists()


def test_real_listings_are_read(shared):
    first, second = (shared / "abo" / "listings_sample.jsonl").read_bytes().splitlines()
    row = dict(zip(LISTING_COLUMNS, parse_listing(first), strict=True))
    assert (row["item_id"], row["product_type"], row["country"]) == ("B06X9STHNG", "SHOES", "NL")
    assert row["other_image_id"].split() == ["91mIRxgziUL", "91eqBkW06wL", "A1BHZSKNbkL"]
    assert parse_listing(second)[3] == "CAKE"


LISTINGS = [{"item_id": f"B{i}", "item_name": [{"value": f"Name, {i}\nmore"}]} for i in range(3)]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(LISTINGS),
        json.dumps(LISTINGS, indent=2),
        "[\n" + ",\n".join(map(json.dumps, LISTINGS)) + "\n]",
        "\n".join(json.dumps(listing, indent=1) for listing in LISTINGS),
        "\ufeff\n" + json.dumps(LISTINGS),
    ],
    ids=["one line", "indented", "one per line in brackets", "indented objects", "byte order mark"],
)
def test_listings_as_one_json_array_or_written_over_lines_are_read(tmp_path, text):
    found = index_catalogue(write_catalogue(tmp_path, [text.encode()]))
    assert read_listings(found.folder)["item_id"].tolist() == ["B0", "B1", "B2"]
    assert found.n_malformed == 0


def test_a_catalogue_without_one_listing_is_refused(tmp_path):
    with pytest.raises(DataError, match="none of 1 files holds a listing.*line 1: no item_id"):
        index_catalogue(write_catalogue(tmp_path, [b"{}"]))


def test_product_types_of_ones_own_keep_blanks_and_accents(tmp_path):
    assert parsed(product_type="Café  tables")["product_type"] == "Café tables"
    assert parsed(product_type=[{"value": "Cafe\u0301"}])["product_type"] == "Café"
    with pytest.raises(ValueError, match="product_type"):
        parsed(product_type={"value": ["x"]})


def test_odd_rows_of_the_image_table_cost_no_other_row(tmp_path):
    odd = IMAGES + b"a,1,1,aa/1\r.jpg\n" + b'b,1,1,"aa/' + b"x" * 140_000 + b'.jpg"\n' + b"c,1,1,aa/c.jpg\n"
    found = index_catalogue(write_catalogue(tmp_path, [b'{"item_id": "B1"}'], odd))
    assert read_images(found.folder)["image_id"].tolist() == ["00123", "c"]
    assert found.n_malformed == 2


@pytest.mark.parametrize("line", [b"\n", b"{}\n", b" \r\n"])
def test_a_small_file_of_millions_of_empty_lines_is_refused_at_once(tmp_path, line):
    folder = write_catalogue(tmp_path, [b"{}"])
    (folder / "listings" / "metadata" / "listings_0.json.gz").write_bytes(gzip.compress(line * 5_000_000))
    start = time.process_time()
    with pytest.raises(DataError, match="consists of nearly empty lines"):
        index_catalogue(folder)
    assert time.process_time() - start < 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_in_place_of_listings_is_refused(tmp_path):
    folder = write_catalogue(tmp_path, [b"{}"])
    (folder / "listings/metadata/listings_0.json.gz").unlink()
    os.mkfifo(folder / "listings/metadata/listings_0.json")
    with pytest.raises(DataError, match="not a regular file"):
        index_catalogue(folder)
