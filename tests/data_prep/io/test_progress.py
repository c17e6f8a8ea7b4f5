"""Progress: a bar for a person, a line now and then for a log, and nothing that isn't a line."""

import io
import logging

import pytest

from aisles.data_prep.io import progress as module
from aisles.data_prep.io.progress import Progress, progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Let each look at the clock take ten seconds."""
    times = iter(range(0, 10_000, 10))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(times)))


def test_a_log_gets_a_line_every_half_minute_and_no_bar(clock, caplog, capsys):
    caplog.set_level(logging.INFO, "aisles")
    assert list(progress(range(10), "Checking images")) == list(range(10))
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "Checking images: 3 of 10 img after 30 s.",
        "Checking images: 6 of 10 img after 60 s.",
        "Checking images: 9 of 10 img after 90 s.",
    ]
    assert capsys.readouterr().err == ""


def test_a_short_loop_says_nothing(caplog):
    caplog.set_level(logging.INFO, "aisles")
    assert list(progress(iter("abc"), "Reading")) == ["a", "b", "c"]
    assert not caplog.records


def test_a_terminal_gets_a_bar_and_no_lines(clock, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "aisles")
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    assert len(list(progress(range(10), "Hashing", unit="img"))) == 10
    assert "Hashing: 100%" in terminal.getvalue() and "10/10" in terminal.getvalue()
    assert not caplog.records


def test_bytes_are_told_as_megabytes_from_where_a_download_goes_on(clock, caplog):
    caplog.set_level(logging.INFO, "aisles")
    with Progress("abo.tar", None, "B") as bar:
        bar.begin_at(1_000_000_000, 3_000_000_000)
        for _ in range(3):
            bar.update(5_000_000)
    assert [r.getMessage() for r in caplog.records] == ["abo.tar: 1,015 of 3,000 MB after 30 s."]
