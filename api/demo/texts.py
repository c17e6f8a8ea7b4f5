"""All texts of the page, one TOML file per language; a new language is one more file."""

import tomllib
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "texts"
FIRST = "en"


class Texts:
    """The texts of one language.

    Parameters
    ----------
    language : str
        The name of a file in `texts/`: `en`, `es`.
    """

    def __init__(self, language: str):
        self.language = language
        with open(FOLDER / f"{language}.toml", "rb") as file:
            self.entries: dict[str, str] = tomllib.load(file)

    def __call__(self, key: str, **values: object) -> str:
        """Return a text with its values put in."""
        return self.entries[key].format(**values)

    def passes(self, n: int) -> str:
        """Write how many passes through networks there were."""
        return self("passes_one" if n == 1 else "passes_several", n=n)

    def number(self, value: float, digits: int = 0, sign: bool = False) -> str:
        """Write a number as the language does."""
        text = f"{value:{'+' if sign else ''}.{digits}f}"
        return text.replace(".", self.entries["decimal_mark"])

    def percent(self, share: float) -> str:
        """Write a share as percentage: whole, with a decimal under 10 and over 99; never 0 or 100 for what isn't."""
        percent = 100 * share
        if 0 < percent < 0.05:
            return f"< {self.number(0.1, 1)} %"
        if 99.95 <= percent < 100:
            return f"> {self.number(99.9, 1)} %"
        whole = 10 <= percent <= 99 or percent in (0, 100)
        return f"{self.number(percent, 0 if whole else 1)} %"


@cache
def texts_in(language: str) -> Texts:
    """Return the texts of a language."""
    return Texts(language)


def languages() -> tuple[str, ...]:
    """Return the languages that there are, English first."""
    found = sorted(path.stem for path in FOLDER.glob("*.toml"))
    return (FIRST, *(name for name in found if name != FIRST))
