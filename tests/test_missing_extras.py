"""What is skipped for a missing extra fails where all extras must be there."""

import subprocess
import sys
from pathlib import Path

import pytest

MODULES = {
    "in a test": "import pytest\n\ndef test_it():\n    pytest.importorskip('no_such_extra')\n",
    "in a module": "import pytest\n\npytest.importorskip('no_such_extra')\n\ndef test_it():\n    pass\n",
    "for another reason": "import pytest\n\ndef test_it():\n    pytest.skip('no data here')\n",
}


@pytest.mark.parametrize(("case", "all_extras", "code"), [
    ("in a test", "", 0), ("in a test", "1", 1), ("in a module", "1", 2), ("for another reason", "1", 0),
])  # fmt: skip
def test_a_skip_for_a_missing_extra_fails_where_all_must_be_there(
    tmp_path, monkeypatch, case, all_extras, code
):
    (tmp_path / "test_it.py").write_text(MODULES[case])
    (tmp_path / "conftest.py").write_text((Path(__file__).parent / "conftest.py").read_text())
    monkeypatch.setenv("AISLES_ALL_EXTRAS", all_extras)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == code, done.stdout + done.stderr
    assert ("an extra is missing" in done.stdout) == (code != 0)
