"""The size and shape gate. Owns the limits of files and functions, full typing, and the few rules that no linter has.

Reads source text only: imports nothing of the product, changes nothing. A line that starts with `soft` is advice;
any other line fails the gate.
"""

import ast
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

FILE_SOFT, FILE_HARD = 400, 600
FUNCTION_SOFT, FUNCTION_HARD = 40, 60
PARAMETERS_SOFT = 6
ROOTS = ("src", "tests", "benchmarks", "scripts")

SPAWN_HOMES = ("src/runyard/runtimes/isolation/", "src/runyard/infrastructure/provisioner/")
"""The only folders that may start processes."""
SPAWN_EXCEPTIONS: dict[str, str] = {
    "src/runyard/cli/serve.py": "replaces itself with the server, starts nothing beside itself",
}
"""Files outside of them that may, with the reason."""
SQL_EXCEPTIONS: dict[str, str] = {}
"""Files that may build SQL text, with the reason."""
JSON_HOMES = (
    "src/runyard/kernel/jsons.py", "src/runyard/client/", "src/runyard/cli/", "src/runyard/actions/shim/inside/",
)  # fmt: skip
"""Where JSON is encoded without the server's encoder. Elsewhere a typed id in a document was a fault in use, three times."""
COMMIT_HOMES = ("src/runyard/database/",)

SPAWN_MODULES = {"subprocess", "_posixsubprocess", "multiprocessing", "pty"}
SPAWN_CALL = re.compile(
    r"os\.(fork|forkpty|posix_spawnp?|spawn\w+|exec[lv]\w*|system|popen)|asyncio\.create_subprocess_\w+"
    r"|\w*loop\.subprocess_\w+"
)
SQL_SINKS = {
    "execute",
    "executemany",
    "executescript",
    "exec_driver_sql",
    "text",
    "scalar",
    "all",
    "one_or_none",
}
SQL_TEXT = re.compile(
    r"\s*(SELECT\s.+\sFROM|INSERT\s+(OR\s+\w+\s+)?INTO|UPDATE\s.+\sSET|DELETE\s+FROM|(CREATE|DROP|ALTER)\s+TABLE)\b",
    re.IGNORECASE | re.DOTALL,
)
LOG_METHODS = {"debug", "info", "warning", "error", "exception", "critical", "log", "bind"}
LOG_OWNER = re.compile(r"(^|[._])(log|logger|logging)$")
SECRET_NAME = re.compile(
    r"(^|_)(secrets?|tokens?|passwords?|passphrase|credentials?|api_key|authorization|private_key)$"
)
DATETIME_OWNERS = ("datetime", "datetime.datetime", "dt.datetime")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Offence:
    """One broken rule at one line."""

    path: str
    line: int
    text: str
    soft: bool = False

    def __str__(self) -> str:
        """Show it as an editor understands it."""
        return f"{'soft ' if self.soft else ''}{self.path}:{self.line}: {self.text}"


def dotted(node: ast.expr) -> str:
    """Return `a.b.c` for a chain of names, else an empty string or the tail that is known."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = dotted(node.value)
        return f"{head}.{node.attr}" if head else node.attr
    return ""


def sized(path: str, line: int, what: str, actual: int, limits: tuple[int, int | None]) -> Iterator[Offence]:
    """Compare one measure with its soft and its hard limit."""
    soft, hard = limits
    if hard is not None and actual > hard:
        yield Offence(path, line, f"{what} has {actual}, the limit is {hard}")
    elif actual > soft:
        yield Offence(path, line, f"{what} has {actual}, aim at {soft}", soft=True)


def check_function(path: str, node: Function) -> Iterator[Offence]:
    """Check the length, the parameters and the annotations of one function."""
    length = (node.end_lineno or node.lineno) - node.lineno + 1
    yield from sized(path, node.lineno, f"lines of {node.name}", length, (FUNCTION_SOFT, FUNCTION_HARD))
    spec = node.args
    named = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs]
    named = [one for one in named if one.arg not in ("self", "cls")]
    yield from sized(path, node.lineno, f"parameters of {node.name}", len(named), (PARAMETERS_SOFT, None))
    stars = [one for one in (spec.vararg, spec.kwarg) if one is not None]
    yield from (
        Offence(path, one.lineno, f"parameter {one.arg} of {node.name} has no type")
        for one in [*named, *stars]
        if one.annotation is None
    )
    if node.returns is None:
        yield Offence(path, node.lineno, f"{node.name} has no return type")


def check_spawn(path: str, node: ast.AST) -> Iterator[Offence]:
    """Refuse to start processes outside the folders that exist for it."""
    if path.startswith(SPAWN_HOMES) or path in SPAWN_EXCEPTIONS:
        return
    modules: list[str] = []
    if isinstance(node, ast.Import):
        modules = [alias.name.partition(".")[0] for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and not node.level:
        modules = [(node.module or "").partition(".")[0]]
        modules += [f"{node.module}.{alias.name}" for alias in node.names]
    for module in modules:
        if module in SPAWN_MODULES or SPAWN_CALL.fullmatch(module):
            yield Offence(path, getattr(node, "lineno", 0), f"{module} starts processes; only isolation may")
    if isinstance(node, ast.Attribute) and SPAWN_CALL.fullmatch(dotted(node)):
        yield Offence(path, node.lineno, f"{dotted(node)} starts a process; only isolation may")


def naive(call: ast.Call) -> bool:
    """Tell whether a call makes a datetime without a zone."""
    name = dotted(call.func)
    if name in ("datetime.datetime", "dt.datetime", "datetime") and call.args:
        return len(call.args) < 8 and not any(word.arg in ("tzinfo", None) for word in call.keywords)
    owner, _, method = name.rpartition(".")
    if owner in ("date", "datetime.date", "dt.date"):
        return method == "today"
    if owner not in DATETIME_OWNERS:
        return False
    if method in ("utcnow", "utcfromtimestamp", "today"):
        return True
    needed = {"now": 1, "fromtimestamp": 2}.get(method)
    return needed is not None and len(call.args) < needed and not any(w.arg == "tz" for w in call.keywords)


def built_text(node: ast.expr) -> bool:
    """Tell whether an expression builds text out of values."""
    if isinstance(node, ast.JoinedStr):
        return any(isinstance(part, ast.FormattedValue) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod | ast.Add):
        sides = (node.left, node.right)
        text = any(isinstance(side, ast.Constant) and isinstance(side.value, str) for side in sides)
        constant = all(isinstance(side, ast.Constant) for side in sides)
        return (text and not constant) or any(built_text(side) for side in sides)
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "format"
        and isinstance(node.func.value, ast.Constant)
    )


def pragma(node: ast.expr) -> bool:
    """Tell whether an f-string is a PRAGMA of SQLite, which takes no bound values."""
    first = node.values[0] if isinstance(node, ast.JoinedStr) and node.values else None
    return isinstance(first, ast.Constant) and str(first.value).startswith("PRAGMA ")


def looks_like_sql(node: ast.expr) -> bool:
    """Tell whether an f-string begins as a statement does."""
    if not isinstance(node, ast.JoinedStr) or not built_text(node):
        return False
    parts = [str(part.value) if isinstance(part, ast.Constant) else "?" for part in node.values]
    return SQL_TEXT.match("".join(parts)) is not None


def leaks(call: ast.Call) -> Iterator[ast.expr]:
    """List the arguments of a log call that hold a secret by their name."""
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in LOG_METHODS:
        return
    if not LOG_OWNER.search(dotted(call.func.value).lower()):
        return
    for argument in [*call.args, *(word.value for word in call.keywords)]:
        for node in ast.walk(argument):
            if isinstance(node, ast.Attribute) and node.attr in ("reveal", "get_secret_value"):
                yield node
            elif isinstance(node, ast.Name | ast.Attribute):
                name = node.id if isinstance(node, ast.Name) else node.attr
                if SECRET_NAME.search(name.lower()):
                    yield node


def check_call(path: str, node: ast.Call) -> Iterator[Offence]:
    """Check one call of product code against the rules on time, SQL, commits and logs."""
    if naive(node):
        yield Offence(path, node.lineno, "a datetime without a zone")
    method = node.func.attr if isinstance(node.func, ast.Attribute) else dotted(node.func)
    sink = path not in SQL_EXCEPTIONS and method in SQL_SINKS and bool(node.args)
    if sink and built_text(node.args[0]) and not pragma(node.args[0]):
        yield Offence(path, node.lineno, f"SQL text built out of values given to {method}")
    if isinstance(node.func, ast.Attribute) and method == "commit" and not path.startswith(COMMIT_HOMES):
        yield Offence(path, node.lineno, "a commit outside database/")
    if dotted(node.func) == "msgspec.json.encode" and not path.startswith(JSON_HOMES):
        yield Offence(path, node.lineno, "JSON without kernel.jsons, which knows typed ids")
    for leak in leaks(node):
        yield Offence(path, leak.lineno, f"a secret in a log call: {ast.unparse(leak)}")


def check_source(path: str, source: str) -> Iterator[Offence]:
    """Check one Python file; `path` is relative to the root, with forward slashes."""
    yield from sized(path, 1, "lines of the file", source.count("\n"), (FILE_SOFT, FILE_HARD))
    product = path.startswith("src/")
    for node in ast.walk(ast.parse(source, path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from check_function(path, node)
        if not product:
            continue
        yield from check_spawn(path, node)
        if isinstance(node, ast.Call):
            yield from check_call(path, node)
        elif isinstance(node, ast.JoinedStr) and path not in SQL_EXCEPTIONS and looks_like_sql(node):
            yield Offence(path, node.lineno, "SQL text built by an f-string")


def check_tree(root: Path, roots: Sequence[str] = ROOTS) -> list[Offence]:
    """Check every Python and C file below the folders named, in order of path."""
    found: list[Offence] = []
    for folder in roots:
        for file in sorted((root / folder).rglob("*")):
            path = file.relative_to(root).as_posix()
            if file.suffix == ".py":
                found += check_source(path, file.read_text("utf-8"))
            elif file.suffix in (".c", ".h"):
                lines = file.read_text("utf-8").count("\n")
                found += sized(path, 1, "lines of the file", lines, (FILE_SOFT, FILE_HARD))
    for path, reason in [*SPAWN_EXCEPTIONS.items(), *SQL_EXCEPTIONS.items()]:
        if not reason.strip():
            found.append(Offence(path, 1, "an exception without a reason"))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the offences; 1 when one of them is hard. `--quiet` leaves the soft ones out."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    quiet = "--quiet" in words
    root = next((Path(word) for word in words if not word.startswith("-")), Path(__file__).parent.parent)
    found = check_tree(root)
    hard = [one for one in found if not one.soft]
    for offence in found:
        if offence in hard or not quiet:
            print(offence)
    if hard:
        print(f"{len(hard)} offences against the size and shape rules", file=sys.stderr)
    return 1 if hard else 0


if __name__ == "__main__":
    raise SystemExit(main())
