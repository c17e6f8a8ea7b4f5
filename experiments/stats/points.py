"""Differences of accuracy in words: "+2.0 points", "0.0 points" without a sign, "1 point" as a margin."""

from collections.abc import Sequence

__all__ = ["change_in_points", "interval_in_points", "signed", "size_in_points"]


def signed(number: float, digits: int = 1) -> str:
    """Return a number with its sign; what rounds to zero has none.

    Examples
    --------
    >>> signed(2), signed(-0.04), signed(-1.25, 2)
    ('+2.0', '0.0', '-1.25')
    """
    text = f"{number:+.{digits}f}"
    return text[1:] if float(text) == 0 else text


def change_in_points(difference: float) -> str:
    """Return a difference of two shares with its sign: 0.02 is "+2.0 points"."""
    return f"{signed(100 * difference)} points"


def size_in_points(share: float) -> str:
    """Return a size without a sign and as short as it is: 0.01 is "1 point", 0.005 is "0.5 points"."""
    text = f"{100 * share:g}"
    return f"{text} point" if text == "1" else f"{text} points"


def interval_in_points(interval: Sequence[float]) -> str:
    """Return both ends of an interval of shares: (-0.012, 0) is "-1.2 to 0.0"."""
    low, high = interval
    return f"{signed(100 * low)} to {signed(100 * high)}"
