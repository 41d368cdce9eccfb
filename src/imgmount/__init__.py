"""Open any disk image: ``open_image(path)`` gives an ``Image`` with its layers and volumes.

Nothing else is promised.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imgmount.chain.open import Image, open_image
    from imgmount.errors import ImgMountError

__version__ = "0.1.0"
__all__ = ["Image", "ImgMountError", "__version__", "open_image"]


def __getattr__(name: str) -> object:
    """The public names, imported when they are asked for: ``imgmount --help`` needs none of them."""
    if name in ("Image", "open_image"):
        from imgmount.chain import open as opening

        return getattr(opening, name)
    if name == "ImgMountError":
        from imgmount.errors import ImgMountError

        return ImgMountError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
