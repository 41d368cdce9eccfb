"""The registry is complete, sorted, and every format in it has fixtures that are recognised as that format and no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixture import Fixture, all_fixtures
from imgmount import registry
from imgmount.core.format import Kind, Match

SRC = Path(registry.__file__).parent
TABLES = {
    Kind.CONTAINER: ("containers", registry.CONTAINERS),
    Kind.PARTITIONS: ("partitions", registry.PARTITIONS),
    Kind.FILESYSTEM: ("filesystems", registry.FILESYSTEMS),
}
FORMATS = [(kind, entry) for kind, (_, table) in TABLES.items() for entry in table]


@pytest.mark.parametrize("kind", Kind)
def test_the_table_is_sorted_and_names_every_module(kind: Kind) -> None:
    folder, table = TABLES[kind]
    names = [entry.module for entry in table]
    assert names == sorted(names)
    defining = {path for path in (SRC / folder).rglob("*.py") if "FORMAT: Final" in path.read_text()}
    assert {module_name(path.relative_to(SRC / folder)) for path in defining} == set(names)


def module_name(path: Path) -> str:
    """``optical.cue`` of ``optical/cue.py``."""
    return ".".join(path.parent.parts if path.name == "__init__.py" else path.with_suffix("").parts)


@pytest.mark.parametrize(("kind", "entry"), FORMATS, ids=lambda value: getattr(value, "module", ""))
def test_a_format_says_what_it_is_and_has_fixtures(kind: Kind, entry: registry.Entry) -> None:
    fmt = registry.load(kind, entry.module)
    assert fmt.kind is kind
    assert fmt.title
    place = (TABLES[kind][0], entry.module.rpartition(".")[2])
    fixtures = [fixture for fixture in all_fixtures() if (fixture.kind, fixture.format) == place]
    assert fixtures, f"fixtures/{'/'.join(place)} is missing"


@pytest.mark.parametrize("fixture", all_fixtures(), ids=str)
def test_a_fixture_is_recognised_as_its_format_and_no_other(fixture: Fixture, tmp_path: Path) -> None:
    if fixture.facts.keys() & {"options", "refused"}:
        return  # opened by name, or not at all
    kind = next(kind for kind, (folder, _) in TABLES.items() if folder == fixture.kind)
    module = next(entry.module for entry in TABLES[kind][1] if entry.module.rpartition(".")[2] == fixture.format)
    fmt = registry.load(kind, module)
    name = fmt.name
    with fixture.open(tmp_path) as image:
        devices = [layer.device for layer in image.layers] + [volume.device for volume in image.volumes]
        claims = [  # partitions beside a table are no rivals of the table
            [(match, rival) for match, rival in registry.matches(kind, device) if rival.beside == fmt.beside]
            for device in devices
        ]
    own = [found for found in claims if name in {fmt.name for _, fmt in found}]
    assert own, "not recognised"
    for found in own:
        assert [fmt.name for match, fmt in found if match is Match.CERTAIN] in ([name], [])
        assert found[0][1].name == name
