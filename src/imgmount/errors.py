"""Everything that can go wrong, as one tree.

    ImgMountError
    |- ImageError              the image is at fault        exit 2, EIO in a mount
    |  |- UnknownFormatError   nothing in it was recognised
    |  |  `- NotADiskError     it is an archive of files, a text...
    |  |- FormatError          a structure is wrong: format, reason, offset
    |  |  `- ChecksumError     a stored checksum disagrees
    |  |- UnsupportedError     valid, but needs a feature we lack
    |  |- OutOfMemoryError     it needs more memory than there is now
    |  |- MissingPartError     a sibling, parent or segment is absent
    |  `- KeyRequiredError     a key or password is needed
    |     |- PasswordRequiredError   a password, and none was given
    |     `- WrongPasswordError      a password, and not one of those given
    `- MountError              the host or the call is at fault      exit 1

Questions about paths raise the builtin ``OSError`` family (``FileNotFoundError``, ``NotADirectoryError``...).
"""

from __future__ import annotations

from typing import Final, Self

NO_MEMORY: Final = "decoding needs more memory than this process can get now"


class ImgMountError(Exception):
    """Base of everything imgmount raises on purpose; ``str()`` is one line for the user."""

    exit_code = 1

    def advise(self, *advice: str) -> Self:
        """This error, with what can be done about it, kept in ``__notes__``."""
        for text in advice:
            self.add_note(text)
        return self

    def with_advice(self) -> str:
        """``str()`` and the advice, still one line."""
        return "; ".join([str(self), *getattr(self, "__notes__", ())])

    def again(self) -> Self:
        """A new error with the same text: each raise of a kept error would make its traceback longer."""
        fresh = type(self).__new__(type(self), *self.args)
        fresh.__dict__.update(self.__dict__)
        return fresh


def in_our_words(exc: Exception) -> str:
    """Our own message, or only the name of an exception of another library: its text is for programmers."""
    return str(exc) if isinstance(exc, ImgMountError) else f"it raises {type(exc).__name__}"


class MountError(ImgMountError):
    """The host refuses: no /dev/fuse, a bad mount point, an unknown option."""


class ImageError(ImgMountError):
    """The image is at fault."""

    exit_code = 2


class UnknownFormatError(ImageError):
    """Nothing in the image was recognised."""


class NotADiskError(UnknownFormatError):
    """It cannot be a disk: the text says what it is instead."""


class FormatError(ImageError):
    """A structure of the image is wrong.

    ``fmt`` is the format's registry name, ``offset`` the byte in the layer below where it was found.
    """

    def __init__(self, fmt: str, reason: str, *, offset: int | None = None) -> None:
        self.fmt = fmt
        self.reason = reason
        self.offset = offset
        where = "" if offset is None else f", at {offset:#x}"
        super().__init__(f"{fmt}: {reason}{where}")


class ChecksumError(FormatError):
    """A stored checksum disagrees with the bytes it covers."""


class UnsupportedError(ImageError):
    """The image is valid but needs a feature that is not there: ``"qcow2: LUKS encryption"``."""


class OutOfMemoryError(ImageError):
    """Decoding needs more memory than the host has now; a later try may succeed."""


class MissingPartError(ImageError):
    """A sibling, parent or segment is absent; the text names it and where it was looked for."""


class KeyRequiredError(ImageError):
    """A key or password is needed; the text names it and how to give it."""


class PasswordRequiredError(KeyRequiredError):
    """A password is needed and none was given: a caller that can ask the user does so, and opens again."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.advise("give --password-file FILE or set IMGMOUNT_PASSWORD")


class WrongPasswordError(KeyRequiredError):
    """No password that was given fits: a caller that asked the user for it may ask again."""
