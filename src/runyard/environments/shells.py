"""Which shell runs a command. Owns the rule of which scripts mean the same to every POSIX shell; pure.

Commands are for bash, where there is one. A shell that waits inside is a plain `/bin/sh`; it takes only what bash
would do alike: plain words, pipes and redirections, and commands that are programs of their own.
"""

import re
from typing import Final

BASH: Final = ("/bin/bash", "-c")
SH: Final = ("/bin/sh", "-c")
LONGEST: Final = 4096
_PLAIN: Final = re.compile(r"""(?:[A-Za-z0-9_./:,@%+= \n;|>-]|&&|[12]?>&[12]|'[^'\\]*'|"[^"\\$`!]*")*\Z""")
_SPLIT: Final = re.compile(r"&&|\|\||[;|\n]")
_QUOTED: Final = re.compile(r"""'[^']*'|"[^"]*\"""")
_ASSIGNMENT: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=\S*\s*")
_OWN: Final = re.compile(
    r"(BASH\w*|CDPATH|DIRSTACK|E?UID|FUNCNAME|GROUPS|LINENO|OPTIND|POSIXLY_CORRECT|PPID|RANDOM|SECONDS|SHELLOPTS)\Z"
)
"""Variables that mean something to one of the shells, or cannot be set there."""
_ALIKE: Final = frozenset({"cd", "echo", "exit", "false", "pwd", "true", ":"})
_NOT_ALIKE: Final = frozenset(
    [
        "alias",
        "bg",
        "bind",
        "break",
        "builtin",
        "caller",
        "case",
        "command",
        "compgen",
        "complete",
        "compopt",
        "continue",
        "coproc",
        "declare",
        "dirs",
        "disown",
        "do",
        "done",
        "elif",
        "else",
        "enable",
        "esac",
        "eval",
        "exec",
        "export",
        "fc",
        "fg",
        "fi",
        "for",
        "function",
        "getopts",
        "hash",
        "help",
        "history",
        "if",
        "in",
        "jobs",
        "kill",
        "let",
        "local",
        "logout",
        "mapfile",
        "popd",
        "printf",
        "pushd",
        "read",
        "readarray",
        "readonly",
        "return",
        "select",
        "set",
        "shift",
        "shopt",
        "source",
        "suspend",
        "test",
        "then",
        "time",
        "times",
        "trap",
        "type",
        "typeset",
        "ulimit",
        "umask",
        "unalias",
        "unset",
        "until",
        "wait",
        "while",
        ".",
    ]
)


def means_the_same(script: str) -> bool:
    """Tell whether bash and a plain POSIX shell surely do the same with a script."""
    if len(script) > LONGEST or not _PLAIN.match(script) or "+=" in script or "|&" in script:
        return False
    words = _QUOTED.sub("q", script)
    return all(_alike(part) for part in _SPLIT.split(words))


def for_sh(script: str) -> str:
    """Return a plain script as a plain shell shall get it: a folder that cannot be entered is 1 to bash, 2 to others."""
    return f'cd() {{ command cd "$@" || return 1; }}\n{script}' if "cd" in script else script


def _alike(part: str) -> bool:
    text = part.strip()
    while found := _ASSIGNMENT.match(text):
        if _OWN.match(found[1]):
            return False
        text = text[found.end() :]
    name, _, rest = text.partition(" ")
    # After a redirection any command may stand.
    if name in _NOT_ALIKE or name.startswith(("=", "%", "-", "+", ">", "1>", "2>")):
        return False
    if name == "echo":
        return not rest.lstrip().startswith("-")
    if name == "cd":
        # Of several folders bash takes none, others the first.
        return len(rest.split()) < 2 and not rest.lstrip().startswith(("-", "+"))
    if name == "exit":
        return not rest.strip() or rest.strip().isdigit()
    if name in _ALIKE:
        return not rest.lstrip().startswith(("-", "+"))
    return True
