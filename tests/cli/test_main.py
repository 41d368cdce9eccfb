"""The contract of the command line: which command runs, exit codes, one line for an error, what start-up imports."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import imgmount
from fake_tree import Broken, Crash, Plain
from helpers import FIXTURES
from imgmount.cli.commands import COMMANDS, parser_for
from imgmount.cli.main import main, main_helper
from imgmount.core.format import Options
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, KeyRequiredError, MountError
from toy_formats import Maker

WUX = str(FIXTURES / "containers/wux/plain/game.wux")
SRC = Path(imgmount.__file__).parent.parent


def start(*argv: str, code: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    program = ["-c", code] if code else ["-m", "imgmount"]
    environment = {**os.environ, "PYTHONPATH": str(SRC), **more}
    return subprocess.run(
        [sys.executable, *program, *argv], capture_output=True, text=True, env=environment, check=False
    )


class Spy(ModuleType):
    """Stands in for a command that would mount."""

    SUMMARY = "spy"

    def __init__(self, name: str, failure: Exception | None = None) -> None:
        super().__init__(name)
        self.args = argparse.Namespace()
        self.failure = failure

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("image", nargs="*")
        parser.add_argument("-o", dest="mount_options", action="append", default=[])
        parser.add_argument("--fs")

    def run(self, args: argparse.Namespace) -> int:
        self.args = args
        if self.failure:
            raise self.failure
        return 0


def spy(monkeypatch: pytest.MonkeyPatch, name: str, failure: Exception | None = None) -> Spy:
    double = Spy(f"imgmount.cli.{name}", failure)
    monkeypatch.setitem(sys.modules, double.__name__, double)
    return double


def test_the_first_word_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    mount, unmount = spy(monkeypatch, "mount"), spy(monkeypatch, "unmount")
    assert main(["./info", "/mnt"]) == 0
    assert mount.args.image == ["./info", "/mnt"]
    assert main(["disk", "info"]) == 0
    assert mount.args.image == ["disk", "info"]
    assert main(["-u", "/mnt", "b.iso"]) == main(["--unmount", "/mnt", "b.iso"]) == 0
    assert unmount.args.image == ["/mnt", "b.iso"]


@pytest.mark.parametrize("word", ["umount", "unmount"])
def test_unmounting_has_a_word_too(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    unmount = spy(monkeypatch, "unmount")
    assert main(["-v", word, "/mnt"]) == 0
    assert (unmount.args.image, unmount.args.verbose) == (["/mnt"], 1)


def test_options_may_stand_before_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "keys").write_text("disc=00")
    assert main(["--keys", str(tmp_path / "keys"), "--raw", "ls", WUX]) == 0
    assert capsys.readouterr().out == "disk.raw\n"


@pytest.mark.parametrize("word", ["info", "-l", "--raw", "-u"])
def test_no_option_stands_behind_two_dashes(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mount, unmount = spy(monkeypatch, "mount"), spy(monkeypatch, "unmount")
    path = f"./{word}" if word.startswith("-") else word
    assert main(["--fs", "fat", "--", word, "/mnt"]) == 0
    assert (mount.args.image, mount.args.fs) == ([path, "/mnt"], "fat")
    assert main(["-u", "--", word]) == 0
    assert unmount.args.image == [path]


def test_without_a_word_the_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert main(["help"]) == 0
    assert capsys.readouterr() == (err, "")
    assert [name for name in COMMANDS if f"imgmount {name} " not in err] == []


def test_help_explains_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "umount"]) == 0
    assert capsys.readouterr().out.startswith("usage: imgmount -u [OPTION...] [MOUNTPOINT|IMAGE...]\n")


def test_writing_is_told_to_be_in_vain_if_the_user_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("imgmount.fuse.session.Session.background", lambda _: 1)
    assert main([WUX, str(tmp_path), "--raw", "-o", "noauto,rw"]) == 1
    assert capsys.readouterr().err == "imgmount: -o rw does nothing: an image is never written\n"
    assert main_helper([WUX, str(tmp_path), "-o", "rw,view=raw"]) == 32
    assert capsys.readouterr().err == ""


def test_long_options_may_stand_in_o(monkeypatch: pytest.MonkeyPatch) -> None:
    mount = spy(monkeypatch, "mount")
    assert main(["disk", "/mnt", "-o", "ro,fs=joliet,allow_other"]) == 0
    assert mount.args.fs == "joliet"
    assert main(["disk", "/mnt", "-o", "fs=joliet", "--fs", "udf"]) == 0
    assert mount.args.fs == "udf"
    assert mount.args.long_options == {"verbose": False, "log-file": True, "fs": True}


def test_the_mount_helper_speaks_as_mount_expects(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mount = spy(monkeypatch, "mount")
    assert main_helper(["disk", "/mnt", "-sn", "-v", "-o", "rw,noauto", "-t", "fuse.imgmount"]) == 0
    assert (mount.args.image, mount.args.mount_options) == (["disk", "/mnt"], ["rw,noauto"])
    assert mount.args.sloppy
    assert mount.args.verbose == 1
    assert main_helper(["disk"]) == 1
    spy(monkeypatch, "mount", MountError("no /dev/fuse"))
    assert main_helper(["disk", "/mnt"]) == 32
    spy(monkeypatch, "mount", FormatError("iso9660", "torn"))
    assert main_helper(["disk", "/mnt"]) == 32
    assert main_helper(["disk", "/mnt", "-f"]) == 0
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_a_helper_is_known_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    mount = spy(monkeypatch, "mount")
    monkeypatch.setattr(sys, "argv", ["/sbin/mount.fuse.imgmount", "disk", "/mnt", "-s"])
    assert main() == 0
    assert mount.args.sloppy


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["-v"], 1, "IMAGE is missing: imgmount [OPTION...] IMAGE [MOUNTPOINT]; see 'imgmount --help'"),
        (["ls"], 1, "IMAGE is missing: imgmount ls [OPTION...] IMAGE [PATH...]; see 'imgmount ls --help'"),
        (["help", "nonsense"], 1, "invalid choice: 'nonsense'"),
        (["info", "./-absent"], 1, "imgmount: -absent: No such file or directory"),
        (["ls", "--nonsense", WUX], 1, "unrecognized arguments: --nonsense"),
        (["ls", "--cache-size", "many", WUX], 1, "'many' is not a size"),
        (
            ["ls", "--cache-size", "0", WUX],
            1,
            "without memory every read decodes its data again; 64M is usual",
        ),
        ([str(FIXTURES), WUX], 1, f"the image comes first: imgmount {WUX} {FIXTURES}; see 'imgmount --help'"),
        (["/nonexistent", WUX], 1, f"the image comes first: imgmount {WUX} /nonexistent"),
        (["--idle-timeout", "soon", WUX], 1, "'soon' is not a time"),
        (["--idle-timeout", "0", WUX], 1, "'0' is not a time"),
        (["info", "--key", "nonsense", WUX], 1, "--key: not NAME=HEX"),
        (["info", "--encoding", "klingon", WUX], 1, "'klingon'"),
        (["info", "--fs", "klingon", WUX], 1, f"{WUX}: no filesystem format is called 'klingon'"),
        (["info", "/nonexistent"], 1, "imgmount: /nonexistent: No such file or directory"),
        (["info", "/"], 1, "imgmount: /: is a directory"),
        (["info", "/dev/null"], 1, "imgmount: /dev/null: is neither a file nor a block device"),
        (["info", WUX, "--password-file", "/nonexistent"], 1, "imgmount: /nonexistent: No such file"),
        (["info", WUX, "--log-file", "/nonexistent/log"], 1, "imgmount: /nonexistent/log: No such file"),
        (["ls", "--raw", WUX, "/nope"], 1, "imgmount: /nope: No such file"),
        (["cat", "--raw", WUX, "/"], 1, "imgmount: /: Is a directory"),
        (["cat", "--raw", WUX, "/disk.raw/x"], 1, "Not a directory"),
        (["-o", "snapshot", WUX], 1, "mount option 'snapshot' needs a value: snapshot=..."),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    argv: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("imgmount: ")
    assert said in err


def test_a_damaged_image_is_exit_2(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    path = make({}, failure=FormatError("x", "torn\nin \x1b[2Jtwo", offset=16))
    assert main(["ls", path]) == 2
    assert (
        capsys.readouterr().err
        == f"imgmount: {path}: x: torn\\nin \\x1b[2Jtwo, at 0x10; --raw shows the bytes as they are\n"
    )
    assert main(["info", path]) == 0
    assert "  x: torn\\nin" in capsys.readouterr().out


def test_without_a_tree_the_raw_view_is_listed(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    path = make({}, failure=KeyRequiredError("x: needs the common key"))
    assert main(["ls", path]) == 0
    assert capsys.readouterr() == ("disk.raw\n", f"imgmount: {path}: x: needs the common key: raw view\n")


def test_an_empty_image_is_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").touch()
    assert main(["ls", str(tmp_path / "empty")]) == 2
    assert capsys.readouterr().err == f"imgmount: {tmp_path}/empty: the file is empty\n"


def test_a_bug_is_one_line_too(
    make: Maker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make({"crash": Plain(2, Crash())})
    assert main(["cat", path, "crash"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"imgmount: {path}: internal error, ZeroDivisionError: (0, 4096); IMGMOUNT_DEBUG=1 shows where"
    ]
    monkeypatch.setenv("IMGMOUNT_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main(["cat", path, "crash"])


def test_interrupted_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    mount = spy(monkeypatch, "mount")
    vars(mount)["failure"] = KeyboardInterrupt()
    assert main(["disk"]) == 130
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "command", [["cat", "--raw", WUX, "disk.raw"], ["info", WUX], ["formats"], ["ls", "-l", "--raw", WUX]]
)
def test_nobody_reads_on(command: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "imgmount", *command],
            stdout=closed,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(SRC)},
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, b"")


def test_the_real_program(tmp_path: Path) -> None:
    assert start("--version").stdout == f"imgmount {imgmount.__version__}\n"
    assert start("info", WUX).stdout.startswith("file > wux\n")
    failed = start("info", str(tmp_path / "absent"))
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr == f"imgmount: {tmp_path}/absent: No such file or directory\n"
    assert (
        start("ls", "--raw", WUX, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0").stdout == "disk.raw\n"
    )


@pytest.mark.parametrize("argv", [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)])
def test_help_imports_nothing_heavy(argv: list[str]) -> None:
    heavy = {
        "construct",
        "mfusepy",
        "dataclasses",
        "inspect",
        "logging",
        "pathlib",
        "shutil",
        "imgmount.chain.open",
        "imgmount.core.format",
    }
    code = f"import sys; from imgmount.cli.main import main; assert main() == 0; print(sorted({heavy} & set(sys.modules)))"
    done = start(*argv, code=code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", [*COMMANDS, "mount", "unmount"])
def test_every_command_has_help(name: str) -> None:
    assert parser_for(name).format_help().startswith("usage: imgmount")


def test_public_names_are_lazy_and_there() -> None:
    assert imgmount.open_image(WUX).table == ""
    assert {imgmount.Image.__name__, imgmount.ImgMountError.__name__} == {"Image", "ImgMountError"}
    with pytest.raises(AttributeError, match="nonsense"):
        imgmount.nonsense  # noqa: B018


def test_warnings_are_lines_of_ours_and_go_to_a_file_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    assert main(["ls", WUX, "--log-file", str(log)]) == 0
    assert capsys.readouterr().err == f"imgmount: {WUX}: no known filesystem: raw view\n"
    assert "WARNING" in log.read_text()


class TestOptions:
    def options(self, make: Maker, *argv: str) -> Options:
        assert main(["info", make({}), *argv]) == 0
        assert make.context is not None
        return make.context.options

    def test_all_of_them(self, make: Maker) -> None:
        argv = [
            "--fs",
            "made-up",
            "--encoding",
            "cp437",
            "--session",
            "2",
            "--xa",
            "cooked",
            "-X",
            "member=",
            "--extra",
            "image=b=c",
            "--key",
            "disc=00ff",
        ]
        options = self.options(make, *argv, "--cache-size", "3K", "--partitions", "none")
        assert (options.fs, options.encoding, options.partitions) == ("made-up", "cp437", "none")
        assert options.extra == {"session": "2", "xa": "cooked", "member": "", "image": "b=c"}
        assert options.keys == {"disc": b"\0\xff"}
        assert make.context is not None
        assert make.context.cache.capacity == 3 << 10

    def test_sectors_of_another_kind_are_a_usage_error(
        self, make: Maker, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["info", make({}), "--xa", "boiled"]) == 1
        assert "choose from 'form2', 'raw', 'cooked'" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("words", "complaint"),
        [
            (("-X", "foo=bar"), "no format has an option 'foo'; there are"),
            (("-X", "xa=boiled"), "xa is form2 or raw or cooked, not 'boiled'"),
            (("-X", "member"), "-X: 'member' is not KEY=VALUE"),
            (("--session", "two"), "session is a number, not 'two'"),
        ],
    )
    def test_options_of_formats_are_checked(
        self, make: Maker, capsys: pytest.CaptureFixture[str], words: tuple[str, str], complaint: str
    ) -> None:
        assert main(["info", make({}), *words]) == 1
        assert complaint in capsys.readouterr().err

    def test_where_a_password_comes_from(
        self, make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.options(make).password is None
        monkeypatch.setenv("IMGMOUNT_PASSWORD", "from the environment")
        assert self.options(make).password == "from the environment"
        (tmp_path / "secret").write_text(" from the file \r\nsecond line")
        assert self.options(make, "--password-file", str(tmp_path / "secret")).password == " from the file "
        assert capsys.readouterr().err == ""
        assert self.options(make, "--password", "from the call").password == "from the call"
        assert "--password-file" in capsys.readouterr().err

    def test_a_password_from_stdin(self) -> None:
        code = """
import sys
from imgmount.cli.commands import parser_for
from imgmount.cli.options import make_options
print(make_options(parser_for("info").parse_args(["x", "--password-file", "-"])).password)
"""
        done = subprocess.run(
            [sys.executable, "-c", code], input="from stdin\n", capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": str(SRC)}, check=True,
        )  # fmt: skip
        assert done.stdout == "from stdin\n"

    def test_keys_from_a_file_and_from_a_folder(self, make: Maker, tmp_path: Path) -> None:
        folder = tmp_path / "keys"
        folder.mkdir()
        (folder / "binary.key").write_bytes(bytes(range(16)))
        (folder / "hex.key").write_text("0f" * 16)
        (folder / "long.key").write_text("0e" * 32 + "\n")
        (folder / "other.txt").write_text("not a key")
        (tmp_path / "list").write_text("# comment\n\ncommon = 0a0b  # tail\n")
        keys = self.options(make, "--keys", str(folder), "--keys", str(tmp_path / "list")).keys
        assert keys == {
            "binary": bytes(range(16)),
            "hex": b"\x0f" * 16,
            "long": b"\x0e" * 32,
            "common": b"\x0a\x0b",
        }

    def test_keys_that_are_none(
        self, make: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = make({})
        (tmp_path / "bad").write_text("common=0a\nnonsense\n")
        (tmp_path / "short.key").write_bytes(b"\x80")
        assert main(["info", path, "--keys", str(tmp_path / "bad")]) == 1
        assert main(["info", path, "--keys", str(tmp_path)]) == 1
        assert [line.rpartition(": ")[2] for line in capsys.readouterr().err.splitlines()] == [
            "line 2 is not NAME=HEX, nor a key in hexadecimal",
            "neither 16 nor 32 bytes, nor these in hexadecimal",
        ]


def test_a_plain_file_is_written_whole(make: Maker, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    path = make({"a": Plain(2, MemoryDevice(b"\0\xff\n")), "b": Plain(3, MemoryDevice(b"b"))})
    assert main(["cat", path, "a", "/b"]) == 0
    assert capfdbinary.readouterr().out == b"\0\xff\nb"


def test_cat_stops_where_it_cannot_read(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    path = make({"a": Plain(2, Broken()), "b": Plain(3, MemoryDevice(b"b"))})
    assert main(["cat", path, "a", "b"]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"imgmount: {path}: fake: unreadable, at 0x10000\n")
