"""What a user can do about an error, as said behind its own words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from imgmount.chain.open import Image
    from imgmount.errors import ImageError


AS_IT_IS: Final = "--raw shows the bytes as they are"
AS_FILE: Final = "--container raw --raw shows the file as it is"


def advise_on_tree(error: ImageError, image: Image) -> None:
    """Say how the image can be looked at where it has no tree of files."""
    from imgmount.containers.evidence.options import ON_ERROR
    from imgmount.errors import FormatError

    error.advise(AS_IT_IS)
    skips = any(layer.format and ON_ERROR in layer.format.options for layer in image.layers)
    if skips and isinstance(error, FormatError) and ON_ERROR.of(image.context.options.extra) == "fail":
        error.advise("--on-error zero reads what is damaged as zeros")
