"""How many images pass the stronger network: the share that a name states, and what came of it."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import betabinom

SHARE = 0.4
"""Of images that are sent on, unless the method's name says another."""
LEVEL = 0.95


@dataclass(frozen=True)
class Budget:
    """What share of images is to be sent on.

    Attributes
    ----------
    share : float
    in_batch : bool
        Whether images are ranked among those that are asked about, so that the share is kept exactly; by a threshold
        from validation images otherwise.
    """

    share: float = SHARE
    in_batch: bool = False

    @classmethod
    def read(cls, text: str) -> "Budget":
        """Read `0.3` or `0.3/batch`; nothing for `SHARE`.

        Raises
        ------
        ValueError
            If the share isn't above 0 and at most 1, or something else than `batch` follows it.
        """
        written, slash, batch = text.partition("/")
        try:
            share = float(written) if written else SHARE
        except ValueError:
            share = np.nan
        if not 0 < share <= 1 or (slash and batch != "batch"):
            raise ValueError(
                "The share of images sent must be above 0 and at most 1, with /batch if it shall be kept exactly among "
                f"the images asked about. Received: {text!r}."
            )
        return cls(share, bool(slash))


@dataclass(frozen=True)
class SentShares:
    """Which share of images was sent on.

    Attributes
    ----------
    stated : float
    validation, measured : float
        Of validation images; of test images.
    interval : (float, float)
        In which `measured` lies 95 times in 100 if test images are like validation images; see `share_interval`.
        `measured` twice where images are ranked in their batch.
    as_stated : bool
        Whether `measured` lies in the interval.
    in_batch : bool
        Whether images were ranked among those that were asked about.
    """

    stated: float
    validation: float
    measured: float
    interval: tuple[float, float]
    as_stated: bool
    in_batch: bool = False

    def warning(self, name: str) -> str:
        """Return in words that test images are not like validation images; empty where they are."""
        if self.as_stated:
            return ""
        low, high = (round(100 * bound, 1) for bound in self.interval)
        return (
            f"{name} sent {100 * self.measured:.1f} % of test images to the stronger network, not the stated "
            f"{100 * self.stated:g} %; images like the validation images would have been {low} to {high} % (95 %). Its "
            "threshold holds for images like those: compare it at its measured cost, or take validation images from "
            "where images will come from. A second look can also rank each batch (SHARE/batch)."
        )


def sent_shares(
    budget: Budget,
    validation: np.ndarray,
    test: np.ndarray,
    products: tuple[np.ndarray, np.ndarray] | None = None,
) -> SentShares:
    """Compare the share of test images sent with what validation images let expect.

    Parameters
    ----------
    budget : Budget
    validation, test : ndarray of bool
        Which images were sent.
    products : tuple of ndarray, optional
        The product of each validation image and of each test image: images of one product are sent together more
        often than others and count as fewer, which widens the interval.
    """
    measured, share = float(test.mean()), float(validation.mean())
    interval = (measured, measured)
    if not budget.in_batch:
        sizes = [len(validation), len(test)]
        if products is not None:
            sizes = [counting(sent, own) for sent, own in zip((validation, test), products, strict=True)]
        interval = share_interval(share * sizes[0], sizes[0], max(1, round(sizes[1])))
    kept = interval[0] <= measured <= interval[1]
    return SentShares(budget.share, share, measured, interval, kept, budget.in_batch)


def counting(sent: np.ndarray, products: np.ndarray) -> float:
    """Return as how many independent images those of some products count: their number over the design effect.

    That is the variance of the number sent, between products, over what independent images would have (Kish 1965);
    at least 1.
    """
    share = sent.mean()
    if share in (0, 1):
        return len(sent)
    _, place = np.unique(products.astype(str), return_inverse=True)
    between = np.bincount(place, sent - share) ** 2
    return len(sent) / max(1.0, float(between.sum()) / (len(sent) * share * (1 - share)))


def share_interval(n_sent: float, n: float, n_new: int, level: float = LEVEL) -> tuple[float, float]:
    """Return in which interval the share of new images sent lies, if they are like those that gave the threshold.

    With the threshold at the `n_sent`-th largest of n urgencies, a new image reaches it with a probability that is
    itself drawn from Beta(n_sent, n + 1 - n_sent), whatever the urgencies' distribution (the coverage of an order
    statistic; Wilks 1941). The number among `n_new` images is then beta-binomial.

    Parameters
    ----------
    n_sent, n : float
        Of independent images that gave the threshold: how many reach it, and how many there are.
    n_new : int
    level : float

    Returns
    -------
    (float, float)
    """
    if not n_sent:
        return 0.0, 0.0
    low, high = betabinom(n_new, n_sent, n + 1 - n_sent).ppf([(1 - level) / 2, (1 + level) / 2]) / n_new
    return float(low), float(high)
