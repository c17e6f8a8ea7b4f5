"""Several backbones as one: their feature vectors side by side, each block scaled alike."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aisles.data_prep.images.fitting import Fitting

LENGTH = 16.0
"""Length of each block of each vector, about that of EfficientNet-Lite0's own: what heads are tuned for."""


@dataclass(frozen=True, eq=False)
class JoinedBackbone:
    """Backbones whose features are joined.

    Each image passes every part, in the part's own size and crop. Each part's vector is scaled to the length `LENGTH`,
    by a rule that depends on no other image; so no block outweighs another, and nothing is learned.

    Attributes
    ----------
    parts : tuple of backbones
    """

    parts: tuple[Any, ...]

    @property
    def name(self) -> str:
        """The parts' names, joined by +."""
        return "+".join(part.name for part in self.parts)

    @property
    def weights(self) -> str:
        """Where the weights came from."""
        return "+".join(dict.fromkeys(part.weights for part in self.parts))

    @property
    def precision(self) -> str:
        """The parts' precision, which is the same."""
        return self.parts[0].precision

    @property
    def fittings(self) -> tuple[Fitting, ...]:
        """How an image becomes the pixels of each part."""
        return tuple(fitting for part in self.parts for fitting in part.fittings)

    @property
    def dimension(self) -> int:
        """Length of a joined vector."""
        return sum(part.dimension for part in self.parts)

    @property
    def n_parameters(self) -> int:
        """Parameters of all parts together."""
        return sum(part.n_parameters for part in self.parts)

    @property
    def key(self) -> str:
        """A name for everything that the features depend on, apart from the image."""
        keys = "\n".join(part.key for part in self.parts)
        return f"{self.name}-{LENGTH:g}-{hashlib.sha256(keys.encode()).hexdigest()[:16]}"

    @property
    def network(self) -> Any:
        """Raise: there is no single network to fine-tune, to export or to look into."""
        raise ValueError(
            f"{self.name} is several networks, which are neither fine-tuned nor exported as one. Keep them frozen "
            "(--sharing frozen), or choose one of them."
        )

    model = network

    def runner(self) -> Callable[..., np.ndarray]:
        """Return the function from uint8 pixels, one array per fitting, to features (n, dimension), float32."""
        runners = [(part.runner(), len(part.fittings)) for part in self.parts]

        def run(*pixels: np.ndarray) -> np.ndarray:
            rest, blocks = list(pixels), []
            for part, n in runners:
                blocks.append(part(*rest[:n]))
                rest = rest[n:]
            return self.join(blocks)

        return run

    def join(self, blocks: Sequence[np.ndarray]) -> np.ndarray:
        """Scale each part's features (n, its dimension) and put them side by side; zeros stay zeros."""
        lengths = [np.linalg.norm(block, axis=1, keepdims=True) for block in blocks]
        scaled = [
            block * (LENGTH / np.where(length > 0, length, 1))
            for block, length in zip(blocks, lengths, strict=True)
        ]
        return np.concatenate(scaled, axis=1).astype(np.float32)

    def in_precision(self, precision: str) -> "JoinedBackbone":
        """Return the same parts computing in another precision."""
        from .registry import in_precision

        return replace(self, parts=tuple(in_precision(part, precision) for part in self.parts))
