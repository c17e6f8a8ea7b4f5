import io
import os
import tarfile
import threading
import time

import numpy as np
import pytest

from aisles.data_prep.io import archive
from aisles.data_prep.io.archive import ArchiveError, TarImages, open_tar, split_tar_path

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


@pytest.fixture(autouse=True)
def own_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("AISLES_CACHE", str(tmp_path / "cache"))


def write_tar(path, contents, kind=tarfile.PAX_FORMAT):
    with tarfile.open(path, "w", format=kind) as tar:
        for name, data in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def add_special(path, **fields):
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo(fields.pop("name", "evil.jpg"))
        for key, value in fields.items():
            setattr(member, key, value)
        tar.addfile(member, io.BytesIO(bytes(member.size)) if member.isreg() else None)
    return path


@pytest.mark.parametrize("kind", FORMATS.values(), ids=FORMATS)
def test_every_member_reads_as_tarfile_reads_it(tmp_path, kind):
    rng = np.random.default_rng(0)
    names = [f"images/{i:02x}/{'x' * length}{i}.jpg" for i, length in enumerate([1, 50, 90, 90, 130, 200])]
    if kind == tarfile.USTAR_FORMAT:
        names = [f"{'d' * 120}/{i}.jpg" for i in range(6)]
    contents = {name: rng.bytes(int(rng.integers(0, 2000))) for name in [*names, "empty.png"]}
    contents["empty.png"] = b""
    tar = TarImages(write_tar(tmp_path / "a.tar", contents, kind))
    assert tar.names == tuple(contents)
    with tarfile.open(tar.path) as oracle:
        for member in oracle:
            file = oracle.extractfile(member)
            assert file is not None
            assert tar.read(member.name) == file.read()
            assert tar.size(member.name) == member.size


def test_names_with_accents_spaces_and_dots_are_found(tmp_path):
    contents = {"./füße und mehr/été +.jpg": b"1", "a//b.jpg": b"2", "...jpg": b"3", "v1..2/x.jpg": b"4"}
    tar = TarImages(write_tar(tmp_path / "a.tar", contents))
    assert tar.names == ("füße und mehr/été +.jpg", "a/b.jpg", "...jpg", "v1..2/x.jpg")
    assert tar.read("füße und mehr/été +.jpg") == b"1"


def test_a_repeated_member_means_its_last_copy(tmp_path):
    path = tmp_path / "a.tar"
    write_tar(path, {"a.jpg": b"old"})
    with tarfile.open(path, "a") as tar:
        member = tarfile.TarInfo("a.jpg")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"new"))
    assert TarImages(path).read("a.jpg") == b"new"


def test_folders_are_passed_over(tmp_path):
    path = add_special(tmp_path / "a.tar", name="images", type=tarfile.DIRTYPE)
    assert len(TarImages(path)) == 0


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"name": "../evil.jpg"}, "outside"),
        ({"name": "a/../../evil.jpg"}, "outside"),
        ({"name": "./../evil.jpg"}, "outside"),
        ({"name": "a\\..\\evil.jpg"}, "outside"),
        ({"name": "/etc/evil.jpg"}, "outside"),
        ({"name": "//etc/evil.jpg"}, "outside"),
        ({"name": "C:\\evil.jpg"}, "outside"),
        ({"name": "../evil", "type": tarfile.DIRTYPE}, "outside"),
        ({"name": "../" + "e" * 150 + "evil.jpg"}, "outside"),
        ({"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "symbolic link"),
        ({"type": tarfile.LNKTYPE, "linkname": "b"}, "hard link"),
        ({"type": tarfile.CHRTYPE}, "character device"),
        ({"type": tarfile.BLKTYPE}, "block device"),
        ({"type": tarfile.FIFOTYPE}, "named pipe"),
    ],
)
def test_hostile_members_are_refused_by_name(tmp_path, fields, reason):
    (tmp_path / "in").mkdir()
    path = add_special(tmp_path / "in/a.tar", **fields)
    with pytest.raises(ArchiveError, match=f"evil.*{reason}"):
        TarImages(path)
    assert sorted(item.name for item in tmp_path.rglob("*")) == ["a.tar", "in"]


def test_an_archive_cut_off_anywhere_is_refused(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"a.jpg": b"x" * 700, "b.jpg": b"y" * 700})
    whole = path.read_bytes()
    for length in (100, 512, 1000, 1536, 1600, 2048, 2600, 3072):
        path.write_bytes(whole[:length])
        with pytest.raises(ArchiveError, match="cut off|damaged"):
            TarImages(path)


def test_a_changed_header_is_noticed(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"a.jpg": b"x" * 700, "b.jpg": b"y" * 700})
    data = bytearray(path.read_bytes())
    second = data.index(b"b.jpg")
    data[second + 1] ^= 4
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match=f"damaged at byte {second}"):
        TarImages(path)


def test_a_size_beyond_the_file_is_refused(tmp_path):
    member = tarfile.TarInfo("big.jpg")
    member.size = 1 << 40
    path = tmp_path / "a.tar"
    path.write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    with pytest.raises(ArchiveError, match=r"cut off: it ends inside member 'big.jpg'"):
        TarImages(path)


def test_a_huge_extended_header_is_refused(tmp_path):
    member = tarfile.TarInfo("x")
    member.type, member.size = b"L", 1 << 33
    path = tmp_path / "a.tar"
    path.write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    with pytest.raises(ArchiveError, match="claims 8589934592 bytes"):
        TarImages(path)


@pytest.mark.parametrize("records", [b"99 path=a\n", b"x path=a\n", b"0 path=a\n", b"7 path\n"])
def test_a_damaged_pax_header_is_refused(tmp_path, records):
    member = tarfile.TarInfo("x")
    member.type, member.size = b"x", len(records)
    path = tmp_path / "a.tar"
    path.write_bytes(member.tobuf(tarfile.USTAR_FORMAT) + records.ljust(512, b"\0") + bytes(1024))
    with pytest.raises(ArchiveError, match="pax header at byte 0 is damaged"):
        TarImages(path)


def test_other_files_are_named_for_what_they_are(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("a.jpg"))
    with pytest.raises(ArchiveError, match="compressed .gzip."):
        TarImages(tmp_path / "a.tar")
    (tmp_path / "b.tar").write_text("hello " * 1000)
    with pytest.raises(ArchiveError, match="not a tar archive"):
        TarImages(tmp_path / "b.tar")
    with pytest.raises(ArchiveError, match="No such file"):
        open_tar(tmp_path / "c.tar")


def test_a_missing_member_is_named(tmp_path):
    tar = TarImages(write_tar(tmp_path / "a.tar", {"a.jpg": b"1"}))
    with pytest.raises(ArchiveError, match=r"no member 'b.jpg'; its 1 members begin with 'a.jpg'"):
        tar.read("b.jpg")
    assert "a.jpg" in tar
    assert "b.jpg" not in tar


def test_the_index_is_kept_and_used_again(tmp_path, monkeypatch):
    path = write_tar(tmp_path / "a.tar", {"a é.jpg": b"1", "b.jpg": b"22"})
    first = TarImages(path)
    assert (tmp_path / "a.tar.index.npz").is_file()
    monkeypatch.setattr(archive, "scan_tar", lambda *_: pytest.fail("scanned again"))
    again = TarImages(path)
    assert again.names == first.names
    assert again.read("b.jpg") == b"22"


def test_a_changed_tar_is_indexed_anew(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"a.jpg": b"1"})
    assert open_tar(path) is open_tar(path)
    old = open_tar(path)
    write_tar(path, {"b.jpg": b"2"})
    os.utime(path, ns=(1, 1))
    assert open_tar(path) is not old
    assert open_tar(path).names == ("b.jpg",)


def test_a_damaged_index_is_made_again(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"a.jpg": b"1"})
    index = tmp_path / "index.npz"
    TarImages(path, index)
    for damage in (b"", b"not an index", index.read_bytes()[:200]):
        index.write_bytes(damage)
        assert TarImages(path, index).read("a.jpg") == b"1"


def test_without_a_writable_folder_the_index_goes_to_the_cache(tmp_path, monkeypatch):
    path = write_tar(tmp_path / "a.tar", {"a.jpg": b"1"})
    real = archive.whole_file

    def whole_file(place):
        if place.parent == tmp_path:
            raise PermissionError("read-only")
        return real(place)

    monkeypatch.setattr(archive, "whole_file", whole_file)
    TarImages(path)
    assert [file.suffix for file in (tmp_path / "cache/tar-indexes").iterdir()] == [".npz"]
    monkeypatch.setattr(archive, "scan_tar", lambda *_: pytest.fail("scanned again"))
    assert TarImages(path).read("a.jpg") == b"1"


def test_threads_read_at_once(tmp_path):
    contents = {f"{i}.jpg": bytes([i]) * 5000 for i in range(50)}
    tar = TarImages(write_tar(tmp_path / "a.tar", contents))
    wrong = []

    def read(seed):
        for i in np.random.default_rng(seed).permutation(50).tolist():
            if tar.read(f"{i}.jpg") != contents[f"{i}.jpg"]:
                wrong.append(i)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_only_a_tar_file_splits_a_path(tmp_path):
    (tmp_path / "folder.tar").mkdir()
    path = write_tar(tmp_path / "folder.tar/a.tar", {"x/y.jpg": b"1"})
    assert split_tar_path(path / "x/y.jpg") == (str(path), "x/y.jpg")
    assert split_tar_path(tmp_path / "folder.tar/x.jpg") is None
    assert split_tar_path("plain/x.jpg") is None


def test_an_index_with_swapped_offsets_is_made_again(tmp_path, caplog):
    path = write_tar(
        tmp_path / "a.tar", {"a.jpg": b"a" * 600, "b.jpg": b"b" * 600, "c" * 150 + ".jpg": b"c" * 600}
    )
    TarImages(path)
    index = tmp_path / "a.tar.index.npz"
    with np.load(index) as stored:
        parts = {name: stored[name].copy() for name in stored.files}
    for swapped in (["offsets"], ["offsets", "headers"], ["sizes"]):
        changed = {n: v[[1, 0, 2]] if n in swapped and n != "sizes" else v for n, v in parts.items()}
        if "sizes" in swapped:
            changed["sizes"] = parts["sizes"] - 1
        np.savez(index, **changed)
        caplog.clear()
        tar = TarImages(path)
        assert tar.read("a.jpg") == b"a" * 600 and tar.read("c" * 150 + ".jpg") == b"c" * 600
        assert caplog.text.count("does not agree") == 1
        assert TarImages(path).read("b.jpg") == b"b" * 600 and caplog.text.count("does not agree") == 1


def test_a_tar_replaced_by_one_of_the_same_size_and_time_is_read_right(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"a.jpg": b"old", "b.jpg": b"two"})
    status = path.stat()
    TarImages(path)
    write_tar(path, {"b.jpg": b"new", "a.jpg": b"one"})
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    assert (TarImages(path).read("a.jpg"), TarImages(path).read("b.jpg")) == (b"one", b"new")


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "a\0b", "./a.jpg"])
def test_an_index_with_names_that_no_tar_may_have_is_not_believed(tmp_path, name):
    path = write_tar(tmp_path / "a.tar", {"a.jpg": b"1"})
    TarImages(path)
    index = tmp_path / "a.tar.index.npz"
    with np.load(index) as stored:
        parts = {key: stored[key] for key in stored.files}
    np.savez(index, **(parts | {"names": np.frombuffer(name.encode(), dtype=np.uint8)}))
    assert TarImages(path).names == ("a.jpg",)


def test_a_member_above_the_limit_is_refused(tmp_path):
    tar = TarImages(write_tar(tmp_path / "a.tar", {"a.jpg": b"1" * 11}))
    assert tar.read("a.jpg", 11) == b"1" * 11
    with pytest.raises(ArchiveError, match="'a.jpg' has 11 bytes; the limit is 10"):
        tar.read("a.jpg", 10)


def test_a_global_header_that_names_all_members_is_refused(tmp_path):
    records = b"13 path=evil\n"
    member = tarfile.TarInfo("x")
    member.type, member.size = b"g", len(records)
    path = tmp_path / "a.tar"
    path.write_bytes(member.tobuf(tarfile.USTAR_FORMAT) + records.ljust(512, b"\0") + bytes(1024))
    with pytest.raises(ArchiveError, match="global header at byte 0 gives all members one name"):
        TarImages(path)


def test_a_pax_header_of_many_records_takes_time_in_proportion(tmp_path):
    def seconds(n_records):
        records = b"".join(b"%d %06d=\n" % (11, i) for i in range(n_records))
        member = tarfile.TarInfo("x")
        member.type, member.size = b"x", len(records)
        padded = records.ljust((len(records) + 511) // 512 * 512, b"\0")
        path = tmp_path / f"{n_records}.tar"
        image = tarfile.TarInfo("a.jpg").tobuf()
        path.write_bytes(member.tobuf(tarfile.USTAR_FORMAT) + padded + image + bytes(1024))
        start = time.process_time()
        assert TarImages(path).names == ("a.jpg",)
        return time.process_time() - start

    seconds(1000)
    assert seconds(90_000) < 30 * max(seconds(9_000), 0.005)
