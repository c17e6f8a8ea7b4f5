"""Progress bars in notebooks."""

import subprocess
import sys


def test_progress_shows_a_bar_and_no_warning_in_a_notebook_without_widgets():
    code = (
        "import sys, types\nsys.modules['ipywidgets'] = None\nimport tqdm.autonotebook as a\n"
        "sys.modules.pop('tqdm.autonotebook'); sys.modules.pop('tqdm.auto', None)\n"
        "shell = types.SimpleNamespace(config={'IPKernelApp': 1})\n"
        "ipython = types.ModuleType('IPython'); ipython.get_ipython = lambda: shell; sys.modules['IPython'] = ipython\n"
        "from aisles.data_prep.io.progress import progress\nprint(sum(progress(range(4), 'counting')))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error::Warning", "-c", code], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("6") and "Warning" not in done.stderr
    assert "counting: 100%" in done.stderr
