"""The methods of `metrics.json` as a data frame, whether a benchmark or a judgement wrote it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd


def methods_table(metrics: Mapping[str, Any], word: str = "method") -> pd.DataFrame:
    """Return one row per method, in the order of the metrics.

    Parameters
    ----------
    metrics : mapping
        As `metrics.json` holds it.
    word : str
        What the index is called.

    Returns
    -------
    DataFrame
        accuracy, sd over seeds, macro-F1, balanced, top-5 (means over seeds); difference, low, high, p and verdict of
        the comparison with the method's baseline, where there is one.
    """
    compared = {comparison["b"]: comparison for comparison in metrics["comparisons"]}
    rows = [_row(facts, compared.get(name)) for name, facts in metrics["methods"].items()]
    return pd.DataFrame(rows, index=pd.Index(list(metrics["methods"]), name=word))


def _row(facts: Mapping[str, Any], comparison: Mapping[str, Any] | None) -> dict[str, Any]:
    top = facts["top5_accuracy"]
    row = {
        "accuracy": facts["accuracy_mean"],
        "sd over seeds": facts["accuracy_sd"],
        "macro-F1": float(np.mean(facts["macro_f1"])),
        "balanced": float(np.mean(facts["balanced_accuracy"])),
        "top-5": None if top is None else float(np.mean(top)),
    }
    keys = ("difference", "low", "high", "p", "verdict")
    if comparison is None:
        return row | dict.fromkeys(keys)
    values = (
        comparison["difference"],
        *comparison["interval"],
        comparison["p_corrected"],
        comparison["verdict"],
    )
    return row | dict(zip(keys, values, strict=True))
