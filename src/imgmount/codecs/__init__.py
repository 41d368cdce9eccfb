"""Decoders: pure functions from bytes to bytes, one file each.

One convention: ``decode(data, size)`` gives exactly ``size`` bytes or raises ``FormatError`` in the
codec's own name (``"deflate: ..."``); the format that called it raises its own error from that one, with its
name and its offset. Bytes after the end of the coded data are ignored: containers pad. ``size`` is trusted to
be a sane amount of memory: check it first. A codec whose library is not installed raises ``UnsupportedError``
with the pip line.

``decode_all(data, out, pieces)``, where there is one, decodes a run of small units straight to its place; see
``pieces``.

``stream`` is the other half: decoders that keep a position, for data that can only be decoded forwards.
"""
