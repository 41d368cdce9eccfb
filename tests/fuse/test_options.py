"""``-o`` as mount(8), fstab and systemd write it."""

from __future__ import annotations

import grp
import pwd

import pytest

from imgmount.errors import MountError
from imgmount.fuse.options import escape, parse, split

KNOWN = {"fs": True, "cache-size": True, "view": True, "raw": False}


def test_what_mount_and_fstab_say_about_a_mount_is_ignored() -> None:
    options = parse(
        [
            "rw,noauto,user,nofail,_netdev,subtype=imgmount,x-systemd.automount,x-gvfs-name=a,comment=hi,defaults"
        ],
        KNOWN,
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


def test_owners_may_be_named() -> None:
    user, group = pwd.getpwall()[-1], grp.getgrall()[-1]
    options = parse([f"uid={user.pw_name},gid={group.gr_name}"], KNOWN)
    assert (options.uid, options.gid) == (user.pw_uid, group.gr_gid)


@pytest.mark.parametrize(
    "option", ["uid=no such user", "umask=9", "umask=-1", "gid=", "gid=-1", "uid=4294967295"]
)
def test_values_that_are_none_are_named(option: str) -> None:
    name, _, value = option.partition("=")
    with pytest.raises(MountError, match=f"mount option {name}='{value}': n"):
        parse([option], KNOWN)


@pytest.mark.parametrize(
    ("option", "complaint"), [("fs", "'fs' needs a value: fs=..."), ("raw=yes", "'raw' takes no value")]
)
def test_values_stand_where_they_belong(option: str, complaint: str) -> None:
    with pytest.raises(MountError, match=complaint):
        parse([option], KNOWN, sloppy=True)


def test_a_remount_is_known() -> None:
    options = parse(["rw,remount,noexec"], KNOWN)
    assert (options.remount, options.passed) == (True, ["noexec"])


def test_our_own_long_options_may_stand_there() -> None:
    assert parse(["fs=joliet,cache_size=8M,view=all"], KNOWN).ours == [
        "--fs=joliet",
        "--cache-size=8M",
        "--view=all",
    ]


@pytest.mark.parametrize("option", ["frobnicate", "max_read=all", "allow_other=1", "uid", "subtype=other"])
def test_an_unknown_option_is_named(option: str) -> None:
    with pytest.raises(MountError, match=f"unknown mount option '{option}'"):
        parse([f"ro,{option}"], KNOWN)


@pytest.mark.parametrize("value", ["plain", "a,b", "back\\slash", "\\,", ""])
def test_commas_in_values_survive(value: str) -> None:
    assert split(f"ro,fsname={escape(value)},x") == ["ro", f"fsname={value}", "x"]
