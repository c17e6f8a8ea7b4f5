"""The README's example of models of one's own, run as printed."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "docs" / "usage.md"


@pytest.mark.keras
def test_the_example_of_models_of_ones_own_runs_as_printed(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    examples = [block for block in blocks if "from_models" in block]
    if not examples:
        pytest.skip("the README has no such example")
    for example in examples:
        exec(compile(example, str(README), "exec"), {"__name__": "example"})
    assert "HierarchicalPrediction" in capsys.readouterr().out
