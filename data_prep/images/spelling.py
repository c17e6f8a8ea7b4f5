"""Names as people spell them: what is written in one form, and what is only said to look alike."""

import re
import unicodedata
from collections.abc import Iterable

import numpy as np
import pandas as pd

_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
_NO_PRODUCT = frozenset({"nan", "n/a", "#n/a", "na", "none", "null", "<na>", "nat", "-", "?"})


def one_form(label: str) -> str:
    r"""Return a label in Unicode's composed form (NFC), with single blanks and without invisible characters.

    >>> one_form("Red  apple\u200b ")
    'Red apple'
    """
    return " ".join(_INVISIBLE.sub("", unicodedata.normalize("NFC", label)).split())


def alike(labels: Iterable[str]) -> list[tuple[str, ...]]:
    """Group labels that differ by case or by compatibility forms alone (`Kiwi`, `kiwi`; `m²`, `m2`)."""
    groups: dict[str, list[str]] = {}
    for label in sorted(set(labels)):
        groups.setdefault(unicodedata.normalize("NFKC", label).casefold(), []).append(label)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def missing_products(products: pd.Series) -> np.ndarray:
    """Return which products are a missing value written as text (`nan`, `N/A`, `None`), where images share it.

    Returns
    -------
    ndarray of bool, of shape (n_images,)
    """
    written = products.str.lower().isin(_NO_PRODUCT)
    return np.asarray(written & products.duplicated(keep=False), dtype=bool)
