"""TensorFlow starts silently, whoever imports it first."""

import os
import subprocess
import sys

import pytest

NOISE = "import os\nos.write(2, b'start-up line\\n')\n"
LEVEL = "TF_CPP_MIN_LOG_LEVEL"


@pytest.fixture
def noisy(tmp_path):
    """Put a TensorFlow and a Keras that write to stderr before the real ones, and run Python there."""
    for name, code in (("tensorflow", NOISE), ("keras", f"import tensorflow\n{NOISE}")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(code)

    def run(code, **variables):
        clean = {name: value for name, value in os.environ.items() if name != LEVEL}
        places = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
        return subprocess.run(
            [sys.executable, "-c", code], env=clean | {"PYTHONPATH": places} | variables,
            capture_output=True, text=True,
        )  # fmt: skip

    return run


@pytest.mark.parametrize("first", ["keras", "tensorflow"])
def test_start_up_lines_are_kept_off_stderr_and_later_lines_are_not(noisy, first):
    code = f"import aisles.models, os, sys\nimport {first}\n"
    shown = noisy(code + "sys.stderr.write('mine ')\nsys.stderr.flush()\nos.write(2, b'too')\nprint('done')")
    assert (shown.stdout, shown.stderr) == ("done\n", "mine too")
    assert "start-up line" in noisy(f"import {first}").stderr  # as it is without


def test_whoever_asks_for_every_line_sees_them(noisy):
    assert noisy("import aisles.models, keras", **{LEVEL: "0"}).stderr == "start-up line\nstart-up line\n"


def test_an_error_of_the_import_is_seen(noisy, tmp_path):
    (tmp_path / "tensorflow" / "__init__.py").write_text(f"{NOISE}raise ImportError('no such library')")
    shown = noisy("import aisles.models, keras")
    assert shown.stderr.endswith("ImportError: no such library\n") and "start-up" not in shown.stderr


@pytest.mark.keras
def test_the_public_names_that_bring_tensorflow_bring_no_word_of_it():
    code = (
        "import aisles\nfor name in aisles.__all__:\n    getattr(aisles, name)\n"
        "import tensorflow as tf\nassert float(tf.zeros(3).numpy().sum()) == 0\nprint('done')"
    )
    clean = {name: value for name, value in os.environ.items() if name != LEVEL}
    shown = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True)
    assert (shown.stdout, shown.stderr) == ("done\n", "")
