from __future__ import annotations

import hashlib
import io
import itertools
import random
import struct
import zipfile
import zlib
from pathlib import Path
from typing import cast

import pytest

from conformance import check_device
from helpers import FIXTURES, context, image, wrong
from imgmount.chain.open import open_image
from imgmount.codecs import snappy
from imgmount.containers.evidence.aff4 import Aff4Device
from imgmount.containers.evidence.aff4.dialect import AFF4, EVIMETRY, SYMBOLIC
from imgmount.containers.evidence.aff4.streams import MapDevice, Repeated, symbolic
from imgmount.containers.evidence.aff4.turtle import parse
from imgmount.core.checks import Note
from imgmount.core.format import Options
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError, MissingPartError, UnsupportedError
from imgmount.jobs.reading import GRAIN, Reader

AFF4_FIXTURES = FIXTURES / "containers/aff4"
MAP = (AFF4_FIXTURES / "map/disk.aff4").read_bytes()
STREAM = (AFF4_FIXTURES / "stream/disk.aff4").read_bytes()
STRIPES = {name: (AFF4_FIXTURES / "striped" / name).read_bytes() for name in ("disk_1.aff4", "disk_2.aff4")}


UNREADABLE_FROM, UNREADABLE_UPTO = 300_000, 1_800_000
UNREADABLE = ["1500000 bytes could not be read when the image was made: 0x493e0+0x16e360"]
FILLED = {"on-error": "zero"}  # the text that stands for what could not be read


def opened(data: bytes, files: dict[str, bytes] | None = None, **options: object) -> Aff4Device:
    return Aff4Device(MemoryDevice(data), context(files, **options))


def rewritten(data: bytes, **changes: bytes | None) -> bytes:
    """The volume with members whose name ends in a key replaced, or left out."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content: bytes | None = old.read(name)
            for tail, replacement in changes.items():
                if name.endswith(tail.replace("__", ".")):
                    content = replacement
            if content is not None:
                new.writestr(name, content)
    return out.getvalue()


def turtle(data: bytes) -> str:
    with zipfile.ZipFile(io.BytesIO(data)) as volume:
        return volume.read("information.turtle").decode()


def with_turtle(data: bytes, old: str, new: str) -> bytes:
    text = turtle(data)
    assert old in text
    return rewritten(data, information__turtle=text.replace(old, new).encode())


@pytest.mark.parametrize(
    ("name", "digest"),  # as pyaff4 0.34 reads them
    [
        ("Base-Allocated", "c1c99315c2ff74e3f37247639e4f8bb2fb7c49ad09f9d6965ac567ce5e6e3c75"),
        ("Base-Linear-ReadError", "648d87d2e045334e750bda297f9c9a5f122b1c07ac673c16dcec46f5f18cd555"),
        ("Base-Linear", "d7d6df4534f06568eb90a06e252592c9b79378b95bb9a7e01db3a388feda6c13"),
    ],
)
def test_reference_images(name: str, digest: str) -> None:
    path = image(f"aff4/aff4__ReferenceImages__{name}.aff4")
    with open_image(path, Options(extra=FILLED)) as found:
        assert str(found).startswith("file > aff4 > mbr[1]")
        content = hashlib.sha256()
        for offset in range(0, found.disk.size, 1 << 20):
            content.update(found.disk.pread(offset, 1 << 20))
        assert (found.disk.size, content.hexdigest()) == (1 << 28, digest)
        device = cast("Aff4Device", found.layers[1].device)
        lost = [
            problem
            for problem in wrong(device.verify())
            if "could not be read when the image was made" in problem
        ]
        assert wrong(device.verify()) == lost
        assert bool(lost) == ("ReadError" in name) == ("unreadable" in device.info())
        assert device.info()["serial number"] == "SGAT5060001234"


@pytest.mark.parametrize("data", [MAP, STREAM], ids=["map", "stream"])
def test_sound_volumes_verify(data: bytes) -> None:
    assert wrong(opened(data).verify()) == ([] if data is STREAM else UNREADABLE)
    assert (
        dict(opened(data).info()).items() >= {"case number": "2026-17", "examiner": 'A. "Examiner"'}.items()
    )


def test_any_stripe_opens_the_set() -> None:
    one, other = STRIPES.values()
    expected = opened(one, {"disk_2.aff4": other})
    content = expected.pread(0, expected.size)
    assert wrong(expected.verify()) == []
    check_device(
        opened(other, {"disk_1.aff4": one, "unrelated.aff4": MAP, "broken.aff4": b"PK\3\4"}), content
    )


def test_a_missing_stripe_is_named() -> None:
    with pytest.raises(MissingPartError, match=r"aff4://.* is in no \.aff4 file"):
        opened(STRIPES["disk_1.aff4"])


def test_a_damaged_chunk_costs_itself_alone() -> None:
    device = opened(MAP, extra=FILLED)
    sound = device.pread(0, device.size)
    start = MAP.index(b"x\x9c") + 20
    damaged = opened(MAP[:start] + b"\xee\xee\xee" + MAP[start + 3 :])
    sectors = [at for at in range(0, device.size, 512) if not UNREADABLE_FROM - 512 < at < UNREADABLE_UPTO]
    lost = [offset for offset in sectors if not _reads(damaged, offset, sound)]
    assert 0 < len(lost) * 512 <= 80 * 512
    assert any("chunk 0" in problem for problem in wrong(damaged.verify()))
    zeroed = opened(MAP[:start] + b"\xee\xee\xee" + MAP[start + 3 :], extra={"on-error": "zero"})
    for offset in sectors:
        found = zeroed.pread(offset, 512)
        assert found == sound[offset : offset + 512] if offset not in lost else found.count(0) >= 256, hex(
            offset
        )
    assert zeroed.info()["damaged, read as zeros"].startswith("1 ranges: 0x0+")
    assert any("chunk 0" in problem for problem in wrong(zeroed.verify()))


def test_what_could_not_be_acquired_is_an_error_and_told() -> None:
    """Or the text that the standard fills it with, where damage is not to be an error."""
    device = opened(MAP)
    for offset, size in ((UNREADABLE_FROM, 1), (UNREADABLE_UPTO - 1, 1), (0, device.size)):
        with pytest.raises(FormatError, match="these bytes could not be read when the image was made"):
            device.pread(offset, size)
    content = opened(MAP, extra=FILLED)
    for start, end in ((0, UNREADABLE_FROM), (UNREADABLE_UPTO, device.size)):
        assert device.pread(start, end - start) == content.pread(start, end - start)
    (lost,) = Reader().unreadable(device, "disk")
    assert 0 <= UNREADABLE_FROM - lost[0] < GRAIN > lost[1] - UNREADABLE_UPTO >= 0
    for opened_ in (device, content):
        assert [opened_.info()["unreadable"]] == UNREADABLE
        (unknown,) = [str(found) for found in opened_.verify() if isinstance(found, Note)]
        assert unknown == "33333 bytes were not acquired and read as UNKNOWN: 0x321f0+0x8235"
        assert opened_.info()["not acquired"] == unknown


def test_a_gap_that_could_not_be_acquired_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Without a run in the map that says so; also where that map is only a part of another."""
    gap = with_turtle(
        MAP, "aff4:mapGapDefaultStream aff4:Zero", "aff4:mapGapDefaultStream aff4:UnreadableData"
    )
    device = opened(rewritten(gap, map=struct.pack("<QQQI", 4096, 512, 0, 0)))
    assert "could not be read when the image was made" in caplog.text
    assert device.info()["unreadable"] == (
        "1999488 bytes could not be read when the image was made: 0x0+0x1000, 0x1200+0x1e7280"
    )
    caplog.clear()
    unused = opened(rewritten(MAP, map=struct.pack("<QQQI", 4096, 512, 0, 0)))
    assert "unreadable" not in unused.info()
    assert not caplog.text


def _reads(device: Aff4Device, offset: int, sound: bytes) -> bool:
    try:
        data = device.pread(offset, 512)
    except FormatError:
        return False
    assert data == sound[offset : offset + 512]
    return True


def test_verify_finds_what_no_decoder_can() -> None:
    """Stored chunks have no checksum of their own."""
    at = STREAM.index(opened(STREAM).pread(40000, 64))
    problems = wrong(opened(STREAM[:at] + b"\xff" + STREAM[at + 1 :]).verify())
    assert any(problem.startswith("chunk 1, 0x8000+0x8000: md5 differs") for problem in problems)
    assert any(problem.startswith("SHA1 of aff4://") for problem in problems)
    changed = rewritten(MAP, idx=_member(MAP, "idx") + b"\n")
    assert any("mapIdxHash" in problem for problem in wrong(opened(changed).verify()))


def _member(data: bytes, tail: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as volume:
        return volume.read(next(name for name in volume.namelist() if name.endswith(tail)))


@pytest.mark.parametrize(
    "run",
    [(0, 2**63, 0, 0), (2**63, 2**63, 0, 0), (1 << 40, 1, 0, 0), (0, 10, 0, 99), (0, 2000001, 0, 0)],
    ids=["long", "far", "outside", "no target", "one too many"],
)
def test_hostile_runs_are_refused(run: tuple[int, int, int, int]) -> None:
    with pytest.raises(FormatError):
        opened(rewritten(MAP, map=struct.pack("<QQQI", *run)))


def test_runs_that_overlap_are_refused() -> None:
    runs = struct.pack("<QQQI", 0, 100, 0, 0) + struct.pack("<QQQI", 99, 100, 0, 0)
    with pytest.raises(FormatError):
        MapDevice(1000, runs, [MemoryDevice(bytes(1000))], None)


def test_a_run_beyond_its_stream_is_an_error_when_read() -> None:
    device = opened(rewritten(MAP, map=struct.pack("<QQQI", 0, 4096, 2**62, 0)))
    with pytest.raises(ImageError):
        device.pread(0, 1)
    assert device.pread(4096, 10) == bytes(10)


@pytest.mark.parametrize("entry", [(0, 2**32 - 1), (2**63, 100), (2**64 - 1, 2), (0, 0)])
def test_hostile_bevy_indices_cost_their_chunks(entry: tuple[int, int]) -> None:
    index = _member(STREAM, "00000000.index")
    device = opened(rewritten(STREAM, **{"00000000__index": struct.pack("<QI", *entry) + index[12:]}))
    with pytest.raises(FormatError):
        device.pread(0, 1)
    assert device.pread(32768, 10) == opened(STREAM).pread(32768, 10)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('chunkSize "32768"', 'chunkSize "0"'),
        ('chunkSize "32768"', 'chunkSize "-5"'),
        ('chunkSize "32768"', 'chunkSize "9999999999999"'),
        ('chunksInSegment "4"', 'chunksInSegment "0"'),
        ('chunksInSegment "4"', 'chunksInSegment "many"'),
        ('aff4:size "170496"', 'aff4:size "-1"'),
        ('aff4:size "170496"', 'aff4:size "99999999999999999999999"'),
        (" ;", " . ."),
        ("@prefix aff4:", "@prefix other:"),
    ],
)
def test_hostile_facts_are_refused(old: str, new: str) -> None:
    with pytest.raises(FormatError):
        opened(with_turtle(STREAM, old, new))


def test_what_is_not_read_is_named() -> None:
    with pytest.raises(UnsupportedError, match="Rot13"):
        opened(with_turtle(STREAM, "Schema#NullCompressor", "Schema#Rot13"))
    with pytest.raises(UnsupportedError, match=r"AFF4-L|of type"):
        opened(with_turtle(STREAM, "a aff4:", "a aff4:Zip"))


def test_a_map_of_itself_ends() -> None:
    name = next(urn for urn, facts in parse(turtle(MAP)).items() if f"{AFF4}mapPointHash" in facts)
    with pytest.raises(FormatError, match="loop"):
        opened(rewritten(MAP, idx=(name + "\n").encode()))


@pytest.mark.parametrize("keep", [10, 1000, 60000, len(MAP) - 1000, len(MAP) - 62])
def test_truncated_volumes(keep: int) -> None:
    with pytest.raises(FormatError):
        opened(MAP[:keep])


def test_other_zip_files_are_not_claimed(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr("disk.img", bytes(100000))
    with open_image(tmp_path / "a.zip") as found:
        assert "aff4" not in [layer.name for layer in found.layers]


def test_symbolic_streams() -> None:
    unknown = cast("Repeated", symbolic(AFF4 + "UnknownData"))
    tile = (b"UNKNOWN" * 150000)[: 1 << 20] * 2
    assert unknown.pread((1 << 20) - 5, 20) == tile[(1 << 20) - 5 : (1 << 20) + 15]
    assert cast("Repeated", symbolic(AFF4 + "SymbolicStreamFF")).pread(5, 3) == b"\xff\xff\xff"
    assert symbolic(AFF4 + "Zero") is None
    for name in ("SymbolicStreamXY", "SymbolicStream1", "Other"):
        with pytest.raises(KeyError):
            symbolic(AFF4 + name)


def test_turtle() -> None:
    graph = parse(
        '@prefix a: <http://a/> .\n# comment\na:x a a:Y, <z> ; a:p "q\\"\\n"^^a:T , """l\n"m" """ ; . <k> a:n 5 , true, "e"@en .'
    )
    assert graph["http://a/x"]["http://a/p"] == [('q"\n', "http://a/T"), ('l\n"m" ', "string")]
    assert graph["k"]["http://a/n"] == [("5", ""), ("true", ""), ("e", "string")]
    for bad in ("<a> <b> ", "<a> <b> <c> <d> .", "x:y a x:z .", '<a> <b> "', "<a> . .", "@prefix a <b> <c>"):
        with pytest.raises(FormatError):
            parse(bad)


@pytest.mark.parametrize("library", [True, False])
def test_snappy(library: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    cramjam = pytest.importorskip("cramjam")
    if not library:
        monkeypatch.setattr(snappy, "_library", None)
    rng = random.Random(5)
    for data in (
        b"",
        b"a" * 100000,
        rng.randbytes(70000),
        b"".join(rng.choice((b"abc", b"hello", rng.randbytes(9))) for _ in range(9999)),
    ):
        packed = bytes(cramjam.snappy.compress_raw(data))
        assert snappy.decode(packed, len(data)) == data
        with pytest.raises(FormatError):
            snappy.decode(packed, len(data) + 1)
        with pytest.raises(FormatError):
            snappy.decode(packed[:-1], len(data))
    for bad in (b"", b"\xff\xff\xff\xff\xff\xff", b"\4\1\5", b"\4\xfc\xff\xff\xff\xff", b"\x04\x02\0\0"):
        with pytest.raises(FormatError):
            snappy.decode(bad, 4)


def old_volume(text: str, files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as new:
        new.writestr("container.description", "aff4://c")
        new.writestr("information.turtle", text)
        for name, content in files.items():
            new.writestr(f"aff4%3A%2F%2F{name}", content)
    return out.getvalue()


CHUNKS = [random.Random(number).randbytes(100) + bytes(412) for number in range(6)]


def bevies(*, ends: bool) -> dict[str, bytes]:
    """Two bevies of three chunks; their indices list where chunks end (Evimetry), or begin (winpmem)."""
    files = {}
    for bevy in range(2):
        packed = [zlib.compress(chunk) for chunk in CHUNKS[3 * bevy : 3 * bevy + 3]]
        places = [0, *itertools.accumulate(map(len, packed))]
        files[f"s/{bevy:08d}"] = b"".join(packed)
        files[f"s/{bevy:08d}/index"] = struct.pack("<3I", *(places[1:] if ends else places[:-1]))
    return files


def test_what_evimetry_wrote_before_the_standard() -> None:
    text = f"""@prefix aff4: <{EVIMETRY}> .
    <aff4://m> a aff4:map ; aff4:size 3584 .
    <aff4://s> a aff4:stream ; aff4:size 3072 ; aff4:chunk_size 512 ; aff4:chunks_in_segment 3 ;
      aff4:CompressionMethod <https://www.ietf.org/rfc/rfc1950.txt> ."""
    names = ["aff4://s", f"{EVIMETRY}Zero", f"{SYMBOLIC}61", f"{EVIMETRY}UnreadableData", f"{EVIMETRY}FF"]
    runs = [(0, 1024, 512, 0), (1024, 512, 0, 1), (1536, 512, 0, 2), (2048, 512, 0, 3), (2560, 1024, 0, 4)]
    files = {"m/idx": "\r\n".join([*names, ""]).encode()}
    files["m/map"] = b"".join(struct.pack("<QQQI", *run) for run in runs)
    device = opened(old_volume(text, {**bevies(ends=True), **files}), extra=FILLED)
    filler = (b"UNREADABLEDATA" * 37)[:512]
    expected = CHUNKS[1] + CHUNKS[2] + bytes(512) + b"a" * 512 + filler + b"\xff" * 1024
    check_device(device, expected)
    (problem,) = wrong(device.verify())
    assert problem == "512 bytes could not be read when the image was made: 0x800+0x200"
    assert "Evimetry" in device.info()["dialect"]


def test_what_winpmem_wrote_before_the_standard() -> None:
    size = 0x7FFF_FFFF_FFFF_FE00
    text = f"""@prefix aff4: <{AFF4}> .
    <aff4://m> a aff4:map ; aff4:size {size} .
    <aff4://s> a aff4:image ; aff4:size 3072 ; aff4:chunk_size 512 ; aff4:chunks_per_segment 3 ;
      aff4:compression <https://www.ietf.org/rfc/rfc1950.txt> ."""
    runs = [(4096, 0, 1024, 0), (1 << 40, 1024, 2048, 0)]  # where, where in the target, length
    files = {"m/idx": b"aff4://s\n", "m/map": b"".join(struct.pack("<QQQI", *run) for run in runs)}
    device = opened(old_volume(text, {**bevies(ends=False), **files}))
    assert device.size == size
    assert device.pread(0, 6144) == bytes(4096) + CHUNKS[0] + CHUNKS[1] + bytes(1024)
    assert device.pread(1 << 40, 4096) == b"".join(CHUNKS[2:]) + bytes(2048)
    assert device.pread(size - 100, 200) == bytes(100)
    assert "winpmem" in device.info()["dialect"]
