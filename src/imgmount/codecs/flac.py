"""FLAC frames without a stream header (RFC 9639), 16-bit stereo: decoded by libFLAC, or slowly without it."""

from __future__ import annotations

import ctypes
import logging
import struct
from ctypes import CFUNCTYPE, POINTER, byref, c_char, c_int, c_int16, c_size_t, c_uint32, c_uint64, c_void_p
from functools import cache
from typing import Any, Final, NamedTuple

from imgmount.codecs import flacframes
from imgmount.core.system_library import first_loadable
from imgmount.errors import FormatError

log = logging.getLogger(__name__)

SAMPLE: Final = 4  # bytes of two channels
LIBRARIES: Final = ("libFLAC.so.14", "libFLAC.so.12", "libFLAC.so.8", "libFLAC.dylib")
# marker, block header, block sizes, frame sizes, rate to samples, MD5
_STREAMINFO: Final = struct.Struct(">4sIHH3s3sQ16s")
_LAST_BLOCK: Final = 0x80000022  # the last metadata block: STREAMINFO, 34 bytes
_RATE: Final = 44100 << 44 | 1 << 41 | 15 << 36  # 44.1 kHz, two channels, 16 bits

_OK: Final = 0
_CONTINUE: Final = 0
_END_OF_STREAM: Final = 1
_ABORT: Final = 2

_Read = CFUNCTYPE(c_int, c_void_p, POINTER(c_char), POINTER(c_size_t), c_void_p)
_Tell = CFUNCTYPE(c_int, c_void_p, POINTER(c_uint64), c_void_p)
_Write = CFUNCTYPE(c_int, c_void_p, POINTER(c_uint32), POINTER(c_void_p), c_void_p)
_Error = CFUNCTYPE(None, c_void_p, c_int, c_void_p)


class Decoded(NamedTuple):
    """Interleaved samples in host order, and how many coded bytes they took."""

    samples: memoryview
    used: int


@cache
def _library() -> Any:
    """libFLAC, or None, which is said once."""
    name = first_loadable(LIBRARIES)
    if name is None:
        log.warning("flac: libFLAC is not installed, sound is decoded slowly: 'apt install flac' brings it")
        return None
    library = ctypes.CDLL(name)
    library.FLAC__stream_decoder_new.restype = c_void_p
    for function in ("delete", "process_single", "process_until_end_of_metadata", "get_state"):
        getattr(library, f"FLAC__stream_decoder_{function}").argtypes = [c_void_p]
    library.FLAC__stream_decoder_get_decode_position.argtypes = [c_void_p, POINTER(c_uint64)]
    library.FLAC__stream_decoder_init_stream.argtypes = [c_void_p, _Read, c_void_p, _Tell, c_void_p, c_void_p,
                                                         _Write, c_void_p, _Error, c_void_p]  # fmt: skip
    return library


def decode(data: bytes, samples: int, block: int) -> Decoded:
    """The first ``samples`` samples of two channels; ``block`` is how many a frame holds at most.

    Raises ``FormatError``.
    """
    library = _library()
    if library is None:
        return Decoded(*flacframes.decode(data, samples))
    handle = library.FLAC__stream_decoder_new()
    try:
        return _Decoding(library, handle, data, samples, block).decode()
    finally:
        library.FLAC__stream_decoder_delete(handle)


class _Decoding:
    """One use of a libFLAC decoder. Its callbacks live as long as it does."""

    def __init__(self, library: Any, handle: int, data: bytes, samples: int, block: int) -> None:
        header = _STREAMINFO.pack(
            b"fLaC", _LAST_BLOCK, block, block, bytes(3), bytes(3), _RATE | samples, bytes(16)
        )
        self._library = library
        self._handle = handle
        self._header = len(header)
        self._data = header + data
        self._fed = 0
        self._out = bytearray(samples * SAMPLE)
        self._halves = memoryview(self._out).cast("h")
        self._done = 0
        self._wanted = samples

    def decode(self) -> Decoded:
        read, tell, write, error = (
            _Read(self._read),
            _Tell(self._tell),
            _Write(self._write),
            _Error(self._error),
        )
        library, handle = self._library, self._handle
        used = c_uint64()
        if (
            library.FLAC__stream_decoder_init_stream(
                handle, read, None, tell, None, None, write, None, error, None
            )
            != _OK
        ):
            raise FormatError("flac", "libFLAC does not start")
        working = bool(library.FLAC__stream_decoder_process_until_end_of_metadata(handle))
        while working and self._done < self._wanted:
            before = self._done
            working = bool(library.FLAC__stream_decoder_process_single(handle)) and self._done > before
        if self._done != self._wanted or not library.FLAC__stream_decoder_get_decode_position(
            handle, byref(used)
        ):
            raise FormatError("flac", f"{self._done} of {self._wanted} samples")
        return Decoded(self._halves, used.value - self._header)

    def _read(self, _: int, buffer: Any, size: Any, __: int) -> int:
        piece = self._data[self._fed : self._fed + size[0]]
        ctypes.memmove(buffer, piece, len(piece))
        size[0] = len(piece)
        self._fed += len(piece)
        return _CONTINUE if piece else _END_OF_STREAM

    def _tell(self, _: int, position: Any, __: int) -> int:
        position[0] = self._fed
        return _OK

    def _write(self, _: int, frame: Any, channels: Any, __: int) -> int:
        count, done = frame[0], self._done  # the frame header starts with its block size
        if frame[2] != 2 or count > self._wanted - done:
            return _ABORT
        for channel in range(2):
            words = memoryview((c_int16 * (2 * count)).from_address(channels[channel])).cast("B").cast("h")
            self._halves[2 * done + channel : 2 * (done + count) : 2] = words[_LOW_HALF::2]
        self._done += count
        return _CONTINUE

    def _error(self, _: int, __: int, ___: int) -> None:
        """Errors show as samples that do not come."""


_LOW_HALF: Final = 0 if struct.pack("=H", 1) == b"\x01\x00" else 1  # of a 32-bit sample
