"""``-o`` as mount(8), fstab and systemd write it."""

from __future__ import annotations

import pytest

from imgmount.errors import MountError
from imgmount.fuse.options import escape, parse, split

KNOWN = frozenset({"fs", "cache-size", "view"})


def test_what_mount_and_fstab_say_about_a_mount_is_ignored() -> None:
    options = parse(
        ["rw,noauto,user,nofail,_netdev,x-systemd.automount,x-gvfs-name=a,comment=hi,defaults"], KNOWN
    )
    assert (options.passed, options.ours) == ([], [])


def test_options_for_libfuse_pass() -> None:
    assert parse(["allow_other,noexec", "max_read=65536"], KNOWN).passed == [
        "allow_other",
        "noexec",
        "max_read=65536",
    ]


def test_owner_and_umask_are_numbers() -> None:
    options = parse(["uid=1000,gid=100,umask=027"], KNOWN)
    assert (options.uid, options.gid, options.umask) == (1000, 100, 0o27)


@pytest.mark.parametrize("option", ["uid=me", "umask=9", "gid="])
def test_numbers_that_are_none_are_named(option: str) -> None:
    with pytest.raises(MountError, match=option.split("=", maxsplit=1)[0]):
        parse([option], KNOWN)


def test_our_own_long_options_may_stand_there() -> None:
    assert parse(["fs=joliet,cache_size=8M,view=all"], KNOWN).ours == [
        "--fs=joliet",
        "--cache-size=8M",
        "--view=all",
    ]


@pytest.mark.parametrize("option", ["frobnicate", "max_read=all", "allow_other=1", "uid"])
def test_an_unknown_option_is_named(option: str) -> None:
    with pytest.raises(MountError, match=f"unknown mount option '{option}'"):
        parse([f"ro,{option}"], KNOWN)


@pytest.mark.parametrize("value", ["plain", "a,b", "back\\slash", "\\,", ""])
def test_commas_in_values_survive(value: str) -> None:
    assert split(f"ro,fsname={escape(value)},x") == ["ro", f"fsname={value}", "x"]
