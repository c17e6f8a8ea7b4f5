"""Where pretrained weights lie, whether they are whole, and what to do when they are missing."""

import hashlib
from dataclasses import dataclass
from pathlib import Path


class WeightsMissingError(FileNotFoundError):
    """Pretrained weights are asked for and are not on this machine, or not whole."""


@dataclass(frozen=True)
class WeightsFile:
    """One file of pretrained weights.

    Attributes
    ----------
    backbone : str
        The backbone that it belongs to.
    path : Path
        Where it is looked for.
    md5 : str
        What its MD5 has to be; empty where that is not known.
    origin : str
        How a person gets it.
    """

    backbone: str
    path: Path
    md5: str
    origin: str

    @property
    def state(self) -> str:
        """`present`, `missing` or `damaged` (the MD5 differs)."""
        if not self.path.is_file():
            return "missing"
        return "present" if not self.md5 or md5_of(self.path) == self.md5 else "damaged"


def weights_files() -> tuple[WeightsFile, ...]:
    """List the pretrained weights of the registered backbones that are here or known by their MD5, by name."""
    from .definitions import BACKBONES

    files = [definition.weights() for definition in BACKBONES.values() if definition.weights is not None]
    return tuple(
        sorted((file for file in files if file.md5 or file.path.is_file()), key=lambda file: file.backbone)
    )


def find_weights(backbone: str) -> Path:
    """Find a backbone's pretrained weights on this machine; nothing is ever downloaded.

    Raises
    ------
    WeightsMissingError
        If the file is missing or its MD5 is off; the message names file, folder, MD5 and the next step.
    """
    from .definitions import BACKBONES

    weights = BACKBONES[backbone].weights
    if weights is None:
        raise WeightsMissingError(
            f"No pretrained weights are known for the backbone '{backbone}'. Use weights='none'."
        )
    file = weights()
    if file.state != "present":
        md5 = f" with MD5 {file.md5}" if file.md5 else ""
        raise WeightsMissingError(
            f"The ImageNet weights of {backbone} are {file.state}: {file.path.name}{md5} is needed in "
            f"{file.path.parent}. {file.origin} Or give another file (--weights PATH), use random weights "
            "(--weights none), or choose the packaged backbone (--backbone efficientnet_lite0)."
        )
    return file.path


def md5_of(path: Path) -> str:
    """Return a file's MD5 as hexadecimal text."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
