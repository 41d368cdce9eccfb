"""Open any disk image: ``open_image(path)`` gives an ``Image`` with its layers, volumes and files.

What is named here, and what docs/python-api.md shows, is promised; nothing else is.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imgmount.core.format import Options
    from imgmount.errors import ImgMountError
    from imgmount.image import Image, open_image

__version__ = "0.1.0"
__all__ = ["Image", "ImgMountError", "Options", "__version__", "open_image"]

_HOMES = {
    "Image": "imgmount.image",
    "open_image": "imgmount.image",
    "Options": "imgmount.core.format",
    "ImgMountError": "imgmount.errors",
}


def __getattr__(name: str) -> object:
    """The public names, imported when they are asked for: ``imgmount --help`` needs none of them."""
    from importlib import import_module

    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
