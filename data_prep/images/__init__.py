"""Images and the manifest: reading, checking and splitting them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .decoding import decode_image, load_pixels

__all__ = ["decode_image", "load_pixels"]


def __getattr__(name: str) -> Any:
    """Load what reads an image when it is asked for, as it brings Pillow along."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import decoding

    return getattr(decoding, name)
