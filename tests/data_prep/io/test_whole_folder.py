"""Folders that are replaced whole: no reader and no kill finds half of one, or none."""

import itertools
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from aisles.data_prep.io import whole_folder as module
from aisles.data_prep.io.whole_folder import exchange, put_back, whole_folder

linux = pytest.mark.skipif(sys.platform != "linux", reason="the system may not exchange folders")


def write(folder: Path, text: str) -> None:
    with whole_folder(folder) as part:
        (part / "one").write_text(text)
        (part / "two").write_text(text)


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.fixture(params=["exchanged", "in two steps"])
def way(request, monkeypatch):
    """Both ways of replacing a folder."""
    if request.param == "in two steps":
        monkeypatch.setattr(module, "exchange", lambda one, other: False)
    return request.param


def test_a_folder_appears_whole_is_replaced_whole_and_leaves_nothing_beside_it(way, tmp_path):
    for text in ("old", "new", "newest"):
        write(tmp_path / "deep" / "folder", text)
        assert content(tmp_path / "deep" / "folder") == {"one": text, "two": text}
        assert [path.name for path in (tmp_path / "deep").iterdir()] == ["folder"]


def test_a_block_that_fails_leaves_what_was_there(way, tmp_path):
    write(tmp_path / "folder", "old")
    with pytest.raises(KeyError), whole_folder(tmp_path / "folder") as part:
        (part / "one").write_text("new")
        raise KeyError
    assert content(tmp_path / "folder") == {"one": "old", "two": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@linux
def test_the_exchange_is_one_step(tmp_path):
    write(tmp_path / "a", "1")
    write(tmp_path / "b", "2")
    assert exchange(tmp_path / "a", tmp_path / "b")
    assert content(tmp_path / "a")["one"] == "2" and content(tmp_path / "b")["one"] == "1"
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "a", tmp_path / "missing")


def test_what_was_moved_aside_by_a_killed_process_is_put_back(monkeypatch, tmp_path):
    write(tmp_path / "folder", "old")
    monkeypatch.setattr(module, "exchange", lambda one, other: False)
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from aisles.data_prep.io import whole_folder as module\n"
        "real = os.replace\n"
        "def replace(source, target):\n"
        "    if str(target).endswith('/folder') and '.part-' in str(source) and not Path(target).exists():\n"
        "        os.kill(os.getpid(), 9)\n"
        "    real(source, target)\n"
        "module.os.replace = replace\n"
        "module.exchange = lambda one, other: False\n"
        "with module.whole_folder(sys.argv[1]) as part:\n"
        "    (part / 'one').write_text('new')\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, tmp_path / "folder"], check=False)
    assert killed.returncode == -signal.SIGKILL and not (tmp_path / "folder").exists()
    assert put_back(tmp_path / "folder") and not put_back(tmp_path / "folder")
    assert content(tmp_path / "folder") == {"one": "old", "two": "old"}
    write(tmp_path / "folder", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]  # the killed one's part is gone, too


def test_another_threads_part_and_a_living_processes_are_no_left_overs(tmp_path):
    foreign = tmp_path / f".part-folder-{platform.node()}-{os.getppid()}-abc"
    foreign.mkdir()
    with whole_folder(tmp_path / "folder") as part:
        (part / "one").write_text("slow")
        write(tmp_path / "folder", "fast")
        assert part.exists()
    assert content(tmp_path / "folder") == {"one": "slow"} and foreign.exists()


@linux
def test_every_reader_finds_a_whole_folder_at_every_moment(tmp_path):
    write(tmp_path / "folder", "start")
    done, missing = threading.Event(), []

    def read():
        while not done.is_set():
            try:
                handle = os.open(tmp_path / "folder", os.O_RDONLY)
            except FileNotFoundError as error:
                missing.append(error)
            else:
                os.close(handle)

    def replace(name):
        for number in range(100):
            write(tmp_path / "folder", f"{name}{number}")

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=replace, args=name) for name in "abc"]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert not missing
    assert len(set(content(tmp_path / "folder").values())) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@linux
def test_a_kill_at_any_moment_leaves_the_old_or_a_new_one(tmp_path):
    write(tmp_path / "folder", "0")
    program = (
        "import itertools, sys\n"
        "from aisles.data_prep.io.whole_folder import whole_folder\n"
        "print(flush=True)\n"
        "for number in itertools.count():\n"
        "    with whole_folder(sys.argv[1]) as part:\n"
        "        (part / 'one').write_text(str(number))\n"
        "        (part / 'two').write_text(str(number))\n"
    )
    for delay in itertools.islice(itertools.cycle((0.001, 0.003, 0.007)), 12):
        with subprocess.Popen(
            [sys.executable, "-c", program, tmp_path / "folder"], stdout=subprocess.PIPE
        ) as victim:
            assert victim.stdout is not None
            victim.stdout.readline()
            time.sleep(delay)
            victim.kill()
        assert len(set(content(tmp_path / "folder").values())) == 1
        assert set(content(tmp_path / "folder")) == {"one", "two"}
    write(tmp_path / "folder", "end")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
