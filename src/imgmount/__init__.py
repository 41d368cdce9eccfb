"""Open any disk image: ``open_image(path)`` gives an ``Image`` with its layers and volumes. Nothing else is promised."""

from imgmount.chain import Image, open_image
from imgmount.errors import ImgMountError

__version__ = "0.1.0"
__all__ = ["Image", "ImgMountError", "__version__", "open_image"]
