"""The registry is complete, sorted, and every format in it has fixtures that are recognised as that format and no other."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from fixture import Fixture, all_fixtures
from helpers import FIXTURES
from imgmount import registry
from imgmount.core.device import BlockDevice
from imgmount.core.format import (
    ContainerFormat,
    FilesystemFormat,
    Format,
    Later,
    Magic,
    Match,
    PartitionsFormat,
    own_check,
)
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError
from imgmount.format_options import all_options

SRC = Path(registry.__file__).parent
Kind = type[ContainerFormat | PartitionsFormat | FilesystemFormat]
KINDS: dict[Kind, str] = {
    ContainerFormat: "containers",
    PartitionsFormat: "partitions",
    FilesystemFormat: "filesystems",
}
FORMATS = [(kind, entry) for kind, (_, table) in registry.TABLES.items() for entry in table]


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_is_sorted_and_names_every_module(kind: Kind) -> None:
    folder = KINDS[kind]
    names = [entry.module for entry in registry.TABLES[kind][1]]
    assert names == sorted(names)
    defining = {path for path in (SRC / folder).rglob("*.py") if "FORMAT: Final" in path.read_text()}
    assert {module_name(path.relative_to(SRC / folder)) for path in defining} == set(names)


def module_name(path: Path) -> str:
    """``optical.cue`` of ``optical/cue.py``."""
    return ".".join(path.parent.parts if path.name == "__init__.py" else path.with_suffix("").parts)


@pytest.mark.parametrize(("kind", "entry"), FORMATS, ids=lambda value: getattr(value, "module", ""))
def test_a_format_says_what_it_is_and_has_fixtures(kind: Kind, entry: registry.Entry) -> None:
    fmt = registry.load(kind, entry.module)
    assert isinstance(fmt, kind)
    assert fmt.title
    assert entry.rescue == (fmt.rescue is not None)
    place = (KINDS[kind], fmt.name)
    fixtures = [fixture for fixture in all_fixtures() if (fixture.kind, fixture.format) == place]
    assert fixtures, f"fixtures/{'/'.join(place)} is missing"


@pytest.mark.parametrize(("kind", "entry"), FORMATS, ids=lambda value: getattr(value, "module", ""))
def test_what_verify_looks_at_is_told(kind: Kind, entry: registry.Entry) -> None:
    fmt = registry.load(kind, entry.module)
    if getattr(fmt, "check", None) not in (None, own_check) or hasattr(fmt.open, "verify"):
        assert fmt.checks


@pytest.mark.parametrize(("kind", "entry"), FORMATS, ids=lambda value: getattr(value, "module", ""))
def test_files_of_a_format_are_called_as_it_says(kind: Kind, entry: registry.Entry) -> None:
    """The names that other programs gave to fixtures. A folder, and what is only recognised, has none."""
    fmt = registry.load(kind, entry.module)
    assert all(ending == ending.lower() and "." in ending for ending in fmt.extensions)
    if fmt.extensions and fmt.name not in ("sparsebundle", "unread"):
        files = [path.name.lower() for path in (FIXTURES / KINDS[kind] / fmt.name).rglob("*")]
        files += [name.removesuffix(".xz") for name in files]
        assert any(name.endswith(fmt.extensions) for name in files)


@pytest.mark.parametrize(("kind", "entry"), FORMATS, ids=lambda value: getattr(value, "module", ""))
def test_what_a_format_imports_later_is_there_and_its_own(kind: Kind, entry: registry.Entry) -> None:
    fmt = registry.load(kind, entry.module)
    room = registry.load.__module__.partition(".")[0] + f".{KINDS[kind]}.{entry.module}"
    later = [value for value in vars(fmt).values() if isinstance(value, Later)]
    assert all(callable(one.resolve()) and one.reference.startswith(room) for one in later)


def test_options_are_declared_once_and_read_by_a_format() -> None:
    read = {option for kind, entry in FORMATS for option in registry.load(kind, entry.module).options}
    assert read == set(all_options().values())
    assert all(option.help and (option.values or option.metavar) for option in read)


@pytest.mark.parametrize("fixture", all_fixtures(), ids=str)
def test_a_fixture_is_recognised_as_its_format_and_no_other(fixture: Fixture, tmp_path: Path) -> None:
    if fixture.facts.keys() & {"options", "refused"}:
        return  # opened by name, or not at all
    kind = next(kind for kind, folder in KINDS.items() if folder == fixture.kind)
    fmt = registry.named(kind, fixture.format)
    name, beside = fmt.name, getattr(fmt, "beside", False)
    with fixture.open(tmp_path) as image:
        devices = [layer.device for layer in image.layers] + [volume.device for volume in image.volumes]
        claims = [  # partitions beside a table are no rivals of the table
            [
                (match, rival)
                for match, rival in registry.matches(kind, device)
                if getattr(rival, "beside", False) == beside
            ]
            for device in devices
        ]
    own = [found for found in claims if name in {fmt.name for _, fmt in found}]
    assert own, "not recognised"
    for found in own:
        surest = max(Match.CERTAIN, found[0][0])
        assert [fmt.name for match, fmt in found if match is surest] in ([name], [])
        assert found[0][1].name == name


@pytest.mark.parametrize(("kind", "name"), [(FilesystemFormat, "ext"), (ContainerFormat, "qcow2")])
def test_a_format_is_named_without_importing_the_others(
    kind: Kind, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    load = registry.load

    def counted(kind: Kind, module: str) -> Format:
        loaded.append(module)
        return load(kind, module)

    monkeypatch.setattr(registry, "load", counted)
    assert registry.named(kind, name).name == name
    assert len(loaded) == 1


def backup_at_end(device: BlockDevice) -> Match:
    if device.pread(0, 6) == b"broken":
        raise FormatError("toy", "the copy is damaged as well")
    return Match.CERTAIN if device.pread(device.size - 6, 6) == b"backup" else Match.NO


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A format with a magic and one that has a backup, and one that takes what is named so for its own."""
    probes = {
        "guess": lambda device: Match.FALLBACK if device.pread(0, 5) == b"guess" else Match.NO,
        "start": lambda _: Match.CERTAIN,
    }
    for name in ("backup", "guess", "start"):
        module = ModuleType(f"toys.{name}")
        vars(module)["FORMAT"] = FilesystemFormat(
            name=name,
            title=name,
            probe=probes.get(name, lambda _: Match.NO),
            rescue=backup_at_end if name == "backup" else None,
            open=lambda *_: pytest.fail("nothing is opened"),
        )
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(sys.modules, "toys", ModuleType("toys"))
    entries = (
        registry.Entry("backup", rescue=True),
        registry.Entry("guess"),
        registry.Entry("start", (Magic(0, b"start"),)),
    )
    monkeypatch.setitem(registry.TABLES, FilesystemFormat, ("toys", entries))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"start...backup", [(Match.CERTAIN, "start")]),
        (b".........backup", [(Match.LIKELY, "backup")]),
        (b"guess....backup", [(Match.LIKELY, "backup"), (Match.FALLBACK, "guess")]),
        (b"broken...backup", []),
        (b"...............", []),
    ],
)
@pytest.mark.usefixtures("toys")
def test_the_other_copy_is_asked_for_only_where_nothing_surer_is_found(
    data: bytes, expected: list[tuple[Match, str]]
) -> None:
    device = MemoryDevice(data)
    found = registry.matches(FilesystemFormat, device)
    assert [(match, fmt.name) for match, fmt in found] == expected
    best = registry.best_match(FilesystemFormat, device)
    assert (best and (best[0], best[1].name)) == (expected[0] if expected else None)
    assert (Match.LIKELY, "backup") not in [
        (match, fmt.name) for match, fmt in registry.matches(FilesystemFormat, device, rescue=False)
    ]
