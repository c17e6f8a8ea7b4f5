"""What stands in the backbone's place when features were computed elsewhere: there are no pixels and no network."""

from dataclasses import dataclass
from typing import Any

from aisles.data_prep.io.errors import DataError


@dataclass(frozen=True)
class GivenFeatures:
    """Features from a table.

    Attributes
    ----------
    key : str
        Tells these features from others.
    """

    key: str = "given features"
    n_parameters: int = 0

    @property
    def model(self) -> Any:
        """There is none.

        Raises
        ------
        DataError
            Always.
        """
        raise DataError(
            "A features table has no pixels and no network. Leave out what needs them, or give images."
        )
