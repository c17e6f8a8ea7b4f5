"""Every language says everything, with the same values put in."""

import ast
import re
import string
from pathlib import Path

import pytest

from aisles.demo.texts import FOLDER, languages, texts_in

SOURCES = sorted(FOLDER.parent.glob("*.py"))


def holes(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def asked_for() -> tuple[set[str], list[re.Pattern[str]]]:
    """Collect the texts that the page's modules name by a literal, and patterns of composed names."""
    literal, composed = set(), []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [str(p.value) if isinstance(p, ast.Constant) else None for p in node.values]
                if any(part and re.fullmatch("[a-z_]{4,}", part) for part in parts):
                    pattern = "".join("[a-z_]+" if part is None else re.escape(part) for part in parts)
                    composed.append(re.compile(pattern))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                literal.add(node.value)
    return literal, composed


def called_for() -> set[str]:
    """Collect the literal names that `texts(...)` and `t(...)` are called with."""
    found = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name, first = getattr(node.func, "id", getattr(node.func, "attr", "")), node.args[0]
            if name in ("t", "texts") and isinstance(first, ast.Constant):
                found.add(first.value)
    return found


def test_english_comes_first_and_spanish_is_there():
    assert languages()[0] == "en"
    assert "es" in languages()


@pytest.mark.parametrize("language", languages())
def test_a_language_has_the_same_texts_as_english_with_the_same_values(language):
    english, other = texts_in("en").entries, texts_in(language).entries
    assert list(other) == list(english)
    assert {key: holes(text) for key, text in other.items()} == {
        key: holes(text) for key, text in english.items()
    }
    assert all(text.strip() for text in other.values())


def test_spanish_is_translated_throughout():
    english, spanish = texts_in("en").entries, texts_in("es").entries
    same = {key for key in english if english[key] == spanish[key] and re.search("[a-z]{4}", english[key])}
    assert not same


def test_every_text_that_a_module_asks_for_is_there():
    asked = called_for()
    assert len(asked) > 30
    assert not asked - set(texts_in("en").entries)


def test_no_text_is_left_that_nothing_asks_for():
    literal, composed = asked_for()
    entries = set(texts_in("en").entries) - {"language_name", "decimal_mark"}
    left = entries - literal
    assert not {key for key in left if not any(pattern.fullmatch(key) for pattern in composed)}


@pytest.mark.parametrize(
    ("share", "english", "spanish"),
    [
        (0, "0 %", "0 %"), (1, "100 %", "100 %"), (0.95, "95 %", "95 %"), (0.0349, "3.5 %", "3,5 %"),
        (0.9951, "99.5 %", "99,5 %"), (0.99999, "> 99.9 %", "> 99,9 %"), (0.0001, "< 0.1 %", "< 0,1 %"),
    ],
)  # fmt: skip
def test_shares_are_written_as_the_language_does_and_never_round_to_certainty(share, english, spanish):
    assert texts_in("en").percent(share) == english
    assert texts_in("es").percent(share) == spanish


def test_texts_are_files_beside_the_page():
    assert {path.stem for path in Path(FOLDER).glob("*.toml")} == set(languages())
