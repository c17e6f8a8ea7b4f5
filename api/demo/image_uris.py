"""Images and files as addresses that hold them, so that nothing needs to lie on the disk."""

import base64
import io

from PIL import Image


def data_uri(data: bytes, kind: str) -> str:
    """Write bytes as an address that holds them."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def image_uri(image: Image.Image, side: int, quality: int = 82) -> str:
    """Write an image, its longer side at most `side` pixels, as a JPEG inside an address."""
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=quality)
    return data_uri(buffer.getvalue(), "image/jpeg")
