"""A row: an image, what is done with it, and the programs that people do this with today."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from .images import DATA, Image
from .mounts import SOURCE, Tool, imgmount
from .reading import AT_RANDOM, SEQUENTIAL, Reading

FILE = DATA.name  # of the images with one large file
DISK = "disk.raw"


@dataclass(frozen=True)
class Decoder:
    """A program that decodes a whole image and ends. ``command`` has places for {image} and {scratch}, a folder."""

    name: str
    command: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """``answers`` is what imgmount shows of the image, with ``options``, and what is read."""

    name: str
    title: str
    image: Image
    reading: Reading
    answers: str
    options: tuple[str, ...]
    peers: tuple[Tool | Decoder, ...]


def disk(
    name: str,
    title: str,
    image: Image,
    *peers: Tool | Decoder,
    reading: Reading = SEQUENTIAL,
    options: tuple[str, ...] = (),
) -> Row:
    """Of the raw view."""
    return Row(name, title, image, reading, DISK, ("--raw", *options), peers)


def file(
    name: str,
    title: str,
    image: Image,
    *peers: Tool | Decoder,
    reading: Reading = SEQUENTIAL,
    answers: str = FILE,
    options: tuple[str, ...] = (),
) -> Row:
    return Row(name, title, image, reading, answers, options, peers)


def tree(
    name: str,
    title: str,
    image: Image,
    reading: Reading,
    *peers: Tool | Decoder,
    folder: str = "",
    options: tuple[str, ...] = (),
) -> Row:
    return Row(name, title, image, reading, folder, options, peers)


def and_random(row: Row) -> tuple[Row, Row]:
    """The row, and the same read at random, which nobody does with a program that decodes all."""
    mounts = tuple(peer for peer in row.peers if isinstance(peer, Tool))
    title = f"{row.title}, at random"
    return row, replace(row, name=f"{row.name}-random", title=title, reading=AT_RANDOM, peers=mounts)


def tool(command: str, answers: str) -> Tool:
    words = command.split()
    return Tool(words[0], (*words, "{image}", "{target}"), answers)


def qemu(driver: str) -> Tool:
    command = [
        "qemu-storage-daemon",
        "--daemonize",
        "--blockdev",
        "driver=file,node-name=f,filename={image},read-only=on",
        "--blockdev",
        f"driver={driver},node-name=r,file=f,read-only=on",
        "--export",
        "type=fuse,id=e,node-name=r,mountpoint={target}",
    ]
    return Tool(command[0], tuple(command), on_file=True)


def xmount(kind: str, image: Image) -> Tool:
    command = ("xmount", "--in", kind, "{image}", "--out", "raw", "{target}")
    return Tool(command[0], command, str(Path(image.name).with_suffix(".dd")))


def ours(image: Image, name: str, answers: str, *options: str) -> Tool:
    """Our sources' mount of another image with the same in it."""
    return replace(imgmount(SOURCE, name, options, answers), image=image)


RAW_VIEW = ours(DATA, "imgmount, raw file", DISK, "--raw")


def unpack(kind: str, title: str) -> Decoder:
    """One thread that does what decoding asks for, and no more: unpack.py."""
    script = str(Path(__file__).with_name("unpack.py"))
    return Decoder(f"{title}, one thread", (sys.executable, script, kind, "{image}"))
