import pytest
from click.testing import CliRunner

from aisles.cli.main import main


def test_a_report_of_no_run_says_what_is_missing(tmp_path):
    done = CliRunner().invoke(main, ["report", str(tmp_path)])

    assert done.exit_code == 3
    assert "is no finished run" in done.output and "aisles benchmark" in done.output


@pytest.mark.parametrize("command", ["report"])
def test_help_begins_with_an_example(command):
    done = CliRunner().invoke(main, [command, "--help"])

    assert done.exit_code == 0
    assert done.output.index(f"  aisles {command} run\n") < done.output.index("Options:")
