"""A writer of LZBITMAP, for tests: nobody but Apple has one."""

from __future__ import annotations


def u24(value: int) -> bytes:
    return value.to_bytes(3, "little")


def coded_chunk(data: bytes, start: int, end: int) -> bytes:
    """Eight bytes a token: new distances of one and two bytes, kept ones, repeats, both kinds of bitmaps."""
    literals, distances, maps, tokens = bytearray(), bytearray(), bytearray(), []
    table = {(0x00, 0): 3, (0xFF, 0): 4, (0x00, 1): 5}
    distance = 8
    for at in range(start, end, 8):
        piece = data[at : min(at + 8, end)]
        found = data.rfind(piece, max(0, at - 60_000), at)
        wanted = at - found if found >= 0 and len(piece) == 8 and at - found >= 8 else distance
        bitmap = 0
        for bit in range(8):
            here = at + bit
            if here >= end or here < wanted or data[here] != data[here - wanted]:
                bitmap |= 1 << bit
                literals += data[here : here + 1] if here < end else b"\0"
        action = 0 if wanted == distance else 1 if wanted < 256 else 2
        distances += wanted.to_bytes(action, "little") if action else b""
        distance = wanted
        token = table.get((bitmap, action), action)
        maps += bytes([bitmap]) if token < 3 else b""
        tokens.append(token)
    nibbles = []
    while tokens:
        run = next((n for n, token in enumerate(tokens) if token != tokens[0]), len(tokens))
        if run >= 4:
            count, rest = [15], run - 4
            while rest >= 15:
                count.append(15)
                rest -= 15
            nibbles += [tokens[0], *count, rest]
        else:
            nibbles += tokens[:run]
        tokens = tokens[run:]
    nibbles += [0] * (2 - len(nibbles) % 2)  # dissect.util looks at one token more
    pairs = zip(nibbles[::2], nibbles[1::2], strict=True)
    packed = bytes(low | high << 4 for low, high in pairs)
    meanings = sum((seen | done << 8) << 10 * (token - 3) for (seen, done), token in table.items())
    far = 15 + len(literals)
    places = [far, far + len(distances), far + len(distances) + len(maps)]
    body = b"".join(map(u24, places)) + literals + distances + maps + packed + meanings.to_bytes(17, "little")
    return u24(6 + len(body)) + u24(end - start) + body


def stream(data: bytes, step: int = 4000) -> bytes:
    chunks = []
    for start in range(0, len(data), step):
        end = min(start + step, len(data))
        coded = coded_chunk(data, start, end)
        stored = u24(end - start + 6) + u24(end - start) + data[start:end]
        chunks.append(min(coded, stored, key=len))
    return b"ZBM\t" + b"".join(chunks) + u24(6) + u24(0)
