"""How people name splits: of folders, of columns, of values."""

import re
from collections.abc import Iterable

import pandas as pd

SPLIT_ALIASES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What a split may be called, whatever the case; `set`, `data` and the like may stand beside it: `Test_Set`."""
_UNCLEAR = frozenset({"eval", "evaluation", "holdout", "unseen"})
_BESIDE = r"(?:set|sets|data|dataset|split|images?|imgs?|photos?|pictures?|folder|files?)"
_COLUMNS = ("split", "subset", "partition", "phase", "usage", "fold", "set", "is train", "is test", "is val")


def split_named(name: str) -> str:
    """Return which split a name means, train, val or test; "" if it isn't understood as one.

    >>> split_named("Training_Set"), split_named("testdata"), split_named("trains"), split_named("test-2")
    ('train', 'test', '', '')
    """
    words = [word for word in _words(name) if not re.fullmatch(_BESIDE, word)]
    if len(words) != 1:
        return ""
    return SPLIT_ALIASES.get(words[0]) or SPLIT_ALIASES.get(re.sub(f"{_BESIDE}$", "", words[0]), "")


def looks_like_split(name: str) -> bool:
    """Return whether a name is a split's, unclear (`evaluation`), or has a number or letters beside it: `train_a`.

    >>> [looks_like_split(name) for name in ("test2", "train_a", "holdout", "Toy Train", "trains")]
    [True, True, True, False, False]
    """
    words = [word for word in _words(name) if not re.fullmatch(_BESIDE, word)]
    splits = [word for word in words if word.rstrip("0123456789") in SPLIT_ALIASES or word in _UNCLEAR]
    return len(splits) == 1 and all(len(word) <= 2 for word in words if word not in splits)


def splits_of_folders(names: Iterable[str]) -> dict[str, str]:
    """Return the splits that folders beside each other mean, by folder; words that all of them share don't count.

    >>> splits_of_folders(["seg_train", "seg_test"])
    {'seg_train': 'train', 'seg_test': 'test'}
    """
    names = list(names)
    shared = set.intersection(*(set(_words(name)) for name in names)) if len(names) > 1 else set()
    rests = {name: " ".join(word for word in _words(name) if word not in shared) for name in names}
    return {name: split_named(rest) or split_named(name) for name, rest in rests.items()}


def find_split_column(table: pd.DataFrame) -> tuple[str, list[str]]:
    """Find the column that holds the splits under another name than `split`.

    Parameters
    ----------
    table : DataFrame
        Of text, without a column `split`.

    Returns
    -------
    tuple of (str, list of str)
        The column whose values all are splits, with training images and others among them, "" if there is none or
        more than one; and the columns that look like splits and aren't used, with what they hold.
    """
    named = [column for column in table if _column_name(str(column))]
    meant = [name for name, column in table.items() if _holds_splits(column)]
    used = meant[0] if len(meant) == 1 else next((c for c in meant if c in named), "")
    unused = [column for column in {**dict.fromkeys(named), **dict.fromkeys(meant)} if column != used]
    return str(used), [f"{column!r} ({', '.join(sorted(set(table[column]))[:4])})" for column in unused]


def _holds_splits(column: pd.Series) -> bool:
    found = {split_named(value) for value in set(column)} if column.nunique() < 20 else {""}
    return "" not in found and "train" in found and len(found) > 1


def _column_name(name: str) -> bool:
    words = " ".join(_words(name))
    return words in _COLUMNS or words.replace(" ", "") in ("trainvaltest", "traintest", "datasplit", "splits")


def _words(name: str) -> list[str]:
    """Divide at what is no letter or figure, and where a capital follows a small letter: `TrainSet`."""
    return re.findall(r"[^\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
