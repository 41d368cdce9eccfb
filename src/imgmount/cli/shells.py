"""Completion scripts of bash, zsh and fish. What only the program knows they ask it: see ``complete``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from imgmount.cli.commands import COMMANDS, WORDS

if TYPE_CHECKING:
    from imgmount.cli.generate import Command, Option

ASKING: Final = ("cat", "extract", "ls")  # commands with paths inside an image
UNMOUNT: Final = "-u|--unmount|unmount|umount"


def _pattern(command: Command) -> str:
    """The words that mean a command."""
    return {"": "*", "-u": UNMOUNT}.get(command.name, command.name)


def bash(commands: list[Command]) -> Iterator[str]:
    """The script for bash-completion."""
    every = {option.names: option for command in commands for option in command.options}.values()
    yield "# bash completion of imgmount; made by: imgmount --print bash"
    yield _BASH_HEAD.format(words="|".join(WORDS))
    for option in every:
        if option.choices:
            yield f'        {"|".join(option.names)}) words="{" ".join(option.choices)}" ;;'
    plain = [name for option in every if option.metavar and not option.choices for name in option.names]
    yield f"        {'|'.join(plain)}) return ;;  # a file, or anything"
    yield "    esac"
    yield "    if [[ -z $words && $cur == -* ]]; then"
    yield "        case $command in"
    for command in [*commands[1:], commands[0]]:
        names = [name for option in command.options for name in option.names]
        words = " ".join(names if command.name else [*names, "-u", "--unmount"])
        yield f'            {_pattern(command)}) words="{words}" ;;'
    yield "        esac"
    yield "    elif [[ -z $words ]]; then"
    yield "        case $command in"
    for command in commands:
        if command.values:
            yield f'            {_pattern(command)}) words="{" ".join(command.values)}" ;;'
    yield f'            {"|".join(ASKING)}|{UNMOUNT}) _imgmount_ask "${{1:-imgmount}}" && return ;;'
    yield "        esac"
    yield "    fi"
    yield '    [[ -n $words ]] && mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")'
    yield "    if [[ -z $words && $COMP_CWORD -eq 1 ]]; then"
    commands_first = f'compgen -W "{" ".join(COMMANDS)}" -- "$cur"'
    yield f'        mapfile -t COMPREPLY < <({commands_first}; compgen -f -- "$cur")'
    yield "    fi"
    yield "}"
    yield "complete -o filenames -o default -F _imgmount imgmount"


_BASH_HEAD: Final = r"""_imgmount_ask() {{
    local text
    text=$("$1" --complete "${{COMP_WORDS[@]:1:COMP_CWORD}}" 2>/dev/null </dev/null) || return
    [[ -n $text ]] && mapfile -t COMPREPLY <<< "$text"
    compopt +o default 2>/dev/null
    [[ ${{#COMPREPLY[@]}} -eq 1 && $text == */ ]] && compopt -o nospace 2>/dev/null
    return 0
}}
_imgmount() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} words="" command="" word
    [[ $previous == = ]] && previous=${{COMP_WORDS[COMP_CWORD-2]}}
    [[ $cur == = ]] && cur=""
    COMPREPLY=()
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case $word in
            {words}|-u|--unmount) command=$word; break ;;
        esac
    done
    case $previous in"""


def zsh(commands: list[Command]) -> Iterator[str]:
    """The function for zsh's own completion."""
    yield "#compdef imgmount"
    yield "# made by: imgmount --print zsh"
    yield _ZSH_HEAD
    yield "    local -a commands=("
    for command in commands:
        if command.name in COMMANDS:
            yield f"        {_quoted(f'{command.name}:{command.summary}')}"
    yield "    )"
    yield "    local at=${words[(I)(" + "|".join([*WORDS, *UNMOUNT.split("|")[:2]]) + ")]}"
    yield "    if (( at > 1 && at < CURRENT )); then  # options may stand before the command"
    yield '        words=("${words[at]}" "${(@)words[2,at-1]}" "${(@)words[at+1,-1]}")'
    yield "        (( CURRENT-- ))"
    yield "    elif (( CURRENT == 2 )) && [[ $PREFIX != -* ]]; then"
    yield "        _describe -t commands command commands"
    yield "    fi"
    yield "    case $words[1] in"
    for command in [*commands[1:], commands[0]]:
        yield f"        {_pattern(command)}) _arguments -s \\"
        for option in command.options:
            for name in option.names:
                yield f"            {_quoted(_zsh_option(name, option))} \\"
        operand = "_files"
        if command.values:
            operand = f"({' '.join(command.values)})"
        elif command.name in (*ASKING, "-u"):
            operand = "_imgmount_ask"
        yield f"            '*:operand:{operand}' ;;"
    yield "    esac"
    yield "}"
    yield '_imgmount "$@"'


_ZSH_HEAD: Final = r"""_imgmount_ask() {
    local text
    local -a before=("${(@)words[1,CURRENT-1]}")
    text=$(imgmount --complete "${(@)before}" "$PREFIX" 2>/dev/null </dev/null) || { _files; return }
    local -a found=("${(@f)text}")
    compadd -S '' -- "${(@M)found:#*/}"
    compadd -- "${(@)${(@)found:#*/}:#}"
}
_imgmount() {"""


def _zsh_option(name: str, option: Option) -> str:
    explained = option.help.replace("[", r"\[").replace("]", r"\]")
    if not option.metavar:
        return f"*{name}[{explained}]"
    values = f"({' '.join(option.choices)})" if option.choices else "_files"
    return f"*{name}[{explained}]:{option.metavar.replace(':', ' ')}:{values}"


def fish(commands: list[Command]) -> Iterator[str]:
    """The script for fish."""
    yield "# fish completion of imgmount; made by: imgmount --print fish"
    yield _FISH_HEAD
    seen = "__fish_seen_subcommand_from"
    for command in commands:
        if command.name in COMMANDS:
            summary = _quoted(command.summary)
            yield f"complete -c imgmount -n __fish_is_first_arg -a {command.name} -d {summary}"
    unmount = f"__fish_contains_opt -s u unmount; or {seen} unmount umount"
    conditions = {"": f"not {seen} {' '.join(COMMANDS)}", "-u": unmount}
    for command in commands:
        when = _quoted(conditions.get(command.name, f"{seen} {command.name}"))
        for option in command.options:
            names = " ".join(
                f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names
            )
            values = (
                f" -x -a {_quoted(' '.join(option.choices))}"
                if option.choices
                else " -r" * bool(option.metavar)
            )
            yield f"complete -c imgmount -n {when} {names}{values} -d {_quoted(option.help)}"
        if command.values:
            yield f"complete -c imgmount -n {when} -f -a {_quoted(' '.join(command.values))}"
        elif command.name in (*ASKING, "-u"):
            yield f"complete -c imgmount -n {when} -f -a '(__imgmount_ask)'"
    yield "complete -c imgmount -n __fish_is_first_arg -s u -l unmount -d 'Unmount'"


_FISH_HEAD: Final = r"""function __imgmount_ask
    set -l current (commandline -ct)
    set -l before (string escape -- (commandline -opc)[2..-1])
    imgmount --complete $before "$current" 2>/dev/null </dev/null; or __fish_complete_path "$current"
end"""


def _quoted(text: str) -> str:
    """One word for any shell."""
    return "'" + text.replace("'", "’") + "'"
