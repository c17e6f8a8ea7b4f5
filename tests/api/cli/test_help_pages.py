"""What people read first: short, grouped, examples before everything, and instant."""

import os
import re
import subprocess
import sys
import time
from importlib.metadata import version

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from aisles.cli.help_pages import FIRST, ORDER, SECTIONS, examples
from aisles.cli.main import main


def told(*words):
    done = CliRunner().invoke(main, list(words))
    assert done.exit_code == 0, done.output
    return done.output


def test_aisles_alone_shows_five_commands_that_parse_and_how_to_see_all():
    text = told()
    assert len(FIRST) == 5 and len(text.splitlines()) < 12
    for line, _ in FIRST:
        assert line in text
        _, name, *words = line.split()
        main.commands[name].make_context(name, words, resilient_parsing=True)
    assert "aisles --help" in text


def test_help_lists_every_command_once_with_its_whole_first_sentence():
    text = told("--help")
    for name, command in main.commands.items():
        sentence = (command.help or "").split(".")[0].split()
        assert len(re.findall(rf"^  {name} +[A-Z]", text, re.M)) == 1
        assert " ".join(sentence) in " ".join(text.split()), name
    heads = [line.rstrip(":") for line in text.splitlines() if line.endswith(":") and line[0] != " "]
    assert heads[: len(SECTIONS)] == list(SECTIONS) and "...\n" not in text.partition("\n")[2]


def leaves(words=(), command=main):
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from leaves((*words, name), child)
    else:
        yield words, command


@pytest.mark.parametrize("words", [words for words, _ in leaves()], ids=" ".join)
def test_help_begins_with_the_examples_and_lists_every_option_once(words):
    command = dict(leaves())[words]
    text = told(*words, "--help")
    lines = text.splitlines()
    first = next(line for line in lines[1:] if line and not line.startswith("        "))
    assert first in {"Example:", "Examples:"}
    shown = [line[2:] for line in lines if line.startswith("  aisles ")]
    assert shown == examples(command) and shown
    groups = [line[:-1] for line in lines if line.endswith(":") and line[0] != " "][1:]
    assert set(groups) <= set(ORDER) and groups
    for parameter in command.get_params(click.Context(command, info_name="x")):
        if isinstance(parameter, click.Option) and not parameter.hidden:
            longest = max(parameter.opts, key=len)
            count = len(re.findall(rf"^  (?:-\w, )?{re.escape(longest)}(?=[ \n,/]|$)", text, re.M))
            assert count == 1, longest


def test_many_options_come_in_groups_and_few_do_not():
    assert "Macro-categories:" in told("benchmark", "--help") and "Fine-tuning:" in told("train", "--help")
    assert "Options:" in told("cite", "--help") and "General:" not in told("cite", "--help")


def test_the_version_tells_what_an_answer_depends_on():
    text = told("--version")
    assert text.splitlines()[0] == f"aisles {version('aisles')}"
    for name in ("keras", "tensorflow", "numpy", "scikit-learn"):
        assert f"\n{name} {version(name)}" in text
    assert f"Python {sys.version.split()[0]}" in text


@pytest.mark.parametrize("words", [[], ["--help"], ["--version"], ["benchmark", "--help"]], ids=str)
def test_the_first_screens_load_nothing_heavy_and_are_instant(words):
    code = (
        "import sys\nfrom aisles.cli.main import main\n"
        f"try:\n    main({words!r})\nexcept SystemExit:\n    pass\n"
        "heavy = {'numpy', 'pandas', 'keras', 'tensorflow', 'sklearn', 'scipy', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    before = time.process_time()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert time.process_time() - before < 1 and done.stdout


def test_the_shell_completes_commands_and_options():
    complete = ShellComplete(main, {}, "aisles", "_AISLES_COMPLETE")
    assert {"benchmark"} == {item.value for item in complete.get_completions([], "bench")}
    assert "--hierarchy" in {item.value for item in complete.get_completions(["benchmark"], "--hier")}
    done = subprocess.run(
        [sys.executable, "-m", "aisles"],
        env=os.environ | {"_AISLES_COMPLETE": "bash_source"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "complete" in done.stdout or "aisles" in done.stdout
