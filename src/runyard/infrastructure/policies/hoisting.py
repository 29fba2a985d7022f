"""Rewriting Rego for the interpreter. Owns one transformation that keeps the meaning: what enumerates is taken out of calls.

The interpreter evaluates `contains(input.names[_], "x")` wrongly: a reference that enumerates (`[_]`, or `[i]` with a free
`i`) is lost, or ends the process, inside the arguments of a call, inside a literal, beside `in` and after a minus. As
`v := input.names[_]; contains(v, "x")` it is right, so that is what it is given. `not f(input.names[_])` becomes a count of
what `f` holds for, compared with nothing. Lines stay where they are.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

_TOKEN: Final = re.compile(
    r'(?P<text>"(?:\\.|[^"\\\n])*"|`[^`]*`)|(?P<comment>#[^\n]*)|(?P<nl>\n)|(?P<ws>[ \t\r]+)'
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<number>[0-9][0-9.eE]*)|(?P<op>:=|==|!=|<=|>=|[^\w\s])"
)
_OPEN: Final = {"(": ")", "[": "]", "{": "}"}
_KEYWORDS: Final = frozenset({"not", "some", "every", "with", "as", "in", "if", "else", "default", "import", "true", "false",
                              "null", "contains"})  # fmt: skip
_GAPS: Final = " \t"
"""What may be cut off a statement; line breaks stay, so that faults are told with their lines."""
_CONTINUES: Final = frozenset(
    {":=", "==", "!=", "<=", ">=", "=", "<", ">", "+", "-", "*", "/", "%", "&", "|", ",", ":", "."}
)


@dataclass(slots=True)
class _Node:
    """A token, or a group in brackets when `closing` is set: `text` is what opens it."""

    kind: str
    text: str
    children: list["_Node"] = field(default_factory=list)
    closing: str = ""

    def __str__(self) -> str:
        return self.text + "".join(map(str, self.children)) + self.closing

    @property
    def blank(self) -> bool:
        return self.kind in ("ws", "nl", "comment")


_Nodes = Sequence[_Node]


def hoisted(text: str) -> str:
    """Return a module in the form that the interpreter evaluates rightly; what cannot be read stays as it is."""
    tree = _parsed(text)
    return text if tree is None else _Rewriter(text).module(tree)


def _parsed(text: str) -> list[_Node] | None:
    top: list[_Node] = []
    stack = [_Node("group", "", top)]
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or len(stack) > 200:
            return None
        position = match.end()
        kind, part = match.lastgroup or "", match.group()
        if part in _OPEN and kind == "op":
            group = _Node("group", part)
            stack[-1].children.append(group)
            stack.append(group)
        elif part in _OPEN.values() and kind == "op":
            group = stack.pop()
            if not stack or _OPEN.get(group.text) != part:
                return None
            group.closing = part
        else:
            stack[-1].children.append(_Node(kind, part))
    return top if len(stack) == 1 else None


class _Rewriter:
    """Rewrites one module; the variables that it makes are in no text of it."""

    def __init__(self, text: str) -> None:
        prefix = "hoisted"
        while prefix in text:
            prefix += "_"
        self._names = (f"{prefix}{number}" for number in itertools.count(1))

    def module(self, nodes: _Nodes) -> str:
        """Rewrite the bodies of rules; a group behind a `=` is a value."""
        parts: list[str] = []
        before = ""
        index = 0
        while index < len(nodes):
            node = nodes[index]
            if node.kind == "group" and node.text == "{" and before not in ("=", ":="):
                parts.append("{" + self._body(node.children) + "}")
            elif node.kind == "name" and node.text == "if" and not _next_is_body(nodes, index + 1):
                end = _line_end(nodes, index + 1)
                parts.append("if { " + self._body(nodes[index + 1 : end]).strip(_GAPS) + " }")
                index = end
                continue
            elif node.kind == "group":
                parts.append(self._group(node, []) if _is_comprehension(node) else str(node))
            else:
                parts.append(str(node))
            if not node.blank:
                before = node.text
            index += 1
        return "".join(parts)

    def _body(self, nodes: _Nodes) -> str:
        """Rewrite the statements of a query."""
        return "".join(
            self._statement(part) if not separates else "".join(map(str, part))
            for separates, part in _statements(nodes)
        )

    def _statement(self, nodes: _Nodes) -> str:
        words = [node for node in nodes if not node.blank]
        names = [node.text for node in words if node.kind == "name"]
        first = words[0].text if words and words[0].kind == "name" else ""
        if not words or "with" in names or (first == "some" and "in" not in names):
            return "".join(map(str, nodes))
        start = nodes.index(words[0])
        lead = "".join(map(str, nodes[:start]))
        if first == "every":
            return lead + self._every(nodes[start:])
        negated = first == "not"
        inner = nodes[start + 1 :] if negated else nodes[start:]
        taken: list[str] = []
        member = "in" in names and first != "some"
        told = self._walk(inner, taken, everywhere=member or _minus(words) or _enumerations(inner) > 1)
        if not taken:
            return lead + ("not" if negated else "") + told
        made = "; ".join(taken)
        if negated:
            ended = told[len(told.rstrip()) :]
            return f"{lead}count([1 | {made}; {told.rstrip().lstrip(_GAPS)}]) == 0{ended}"
        return f"{lead}{made}; {told}"

    def _every(self, nodes: _Nodes) -> str:
        """Rewrite the body of `every x in domain { body }`; the last group is the body."""
        last = max((index for index, node in enumerate(nodes) if node.text == "{"), default=-1)
        return "".join(
            "{" + self._body(node.children) + "}" if index == last else str(node)
            for index, node in enumerate(nodes)
        )

    def _walk(self, nodes: _Nodes, taken: list[str], *, everywhere: bool) -> str:
        """Rewrite an expression; what is taken out of it is added to `taken` as statements."""
        parts: list[str] = []
        index = 0
        while index < len(nodes):
            end = _chain_end(nodes, index)
            if end == index:
                parts.append(self._plain(nodes[index], taken))
                index += 1
                continue
            chain = nodes[index:end]
            told = str(chain[0]) if chain[0].kind != "group" else self._group(chain[0], taken)
            told += "".join(self._plain(node, taken, of_chain=True) for node in chain[1:])
            if everywhere and _enumerates(chain):
                name = next(self._names)
                taken.append(f"{name} := {told}")
                told = name
            parts.append(told)
            index = end
        return "".join(parts)

    def _plain(self, node: _Node, taken: list[str], *, of_chain: bool = False) -> str:
        if node.kind != "group":
            return str(node)
        if of_chain and node.text == "[":
            return "[" + self._walk(node.children, taken, everywhere=False) + "]"
        return self._group(node, taken)

    def _group(self, node: _Node, taken: list[str]) -> str:
        """Rewrite arguments, a literal or a comprehension."""
        if not _is_comprehension(node):
            return node.text + self._walk(node.children, taken, everywhere=True) + node.closing
        bar = next(index for index, one in enumerate(node.children) if one.text == "|" and one.kind == "op")
        own: list[str] = []
        head = self._walk(node.children[:bar], own, everywhere=False)
        body = self._body(node.children[bar + 1 :])
        more = "".join(f"; {one}" for one in own)
        ended = len(body.rstrip())
        return f"{node.text}{head}|{body[:ended]}{more}{body[ended:]}{node.closing}"


def _statements(nodes: _Nodes) -> Iterator[tuple[bool, list[_Node]]]:
    """Yield statements, and what separates them. A line that ends with an operator goes on in the next one."""
    current: list[_Node] = []
    last = ""
    for node in nodes:
        ends = (node.kind == "op" and node.text == ";") or (node.kind == "nl" and last not in _CONTINUES)
        if ends or (node.kind == "comment" and not last):
            if current:
                yield False, current
            yield True, [node]
            current, last = [], ""
            continue
        current.append(node)
        if not node.blank:
            last = node.text
    if current:
        yield False, current


def _chain_end(nodes: _Nodes, start: int) -> int:
    """Return where a reference or a call that begins here ends; `start` when none does."""
    first = nodes[start]
    is_name = first.kind == "name" and first.text not in (_KEYWORDS - {"contains"})
    is_literal = first.kind == "group" and first.text in "[{"
    if not is_name and not is_literal:
        return start
    index = start + 1
    while index < len(nodes):
        node = nodes[index]
        if node.kind == "group" and node.text in "[(":
            index += 1
        elif node.text == "." and index + 1 < len(nodes) and nodes[index + 1].kind == "name":
            index += 2
        else:
            break
    return index if is_name or index > start + 1 else start


def _enumerates(chain: _Nodes) -> bool:
    """Tell whether a reference goes through members: a bracket with one name in it, behind the last call."""
    last_call = max((index for index, node in enumerate(chain) if node.text == "("), default=0)
    return any(
        node.text == "[" and index > 0 and _is_variable(node)
        for index, node in enumerate(chain)
        if index > last_call or last_call == 0
    )


def _is_variable(bracket: _Node) -> bool:
    inner = [node for node in bracket.children if not node.blank]
    return len(inner) == 1 and inner[0].kind == "name" and inner[0].text not in _KEYWORDS


def _enumerations(nodes: _Nodes) -> int:
    """Count the references of an expression that enumerate, those inside of groups left out."""
    found = index = 0
    while index < len(nodes):
        end = max(_chain_end(nodes, index), index + 1)
        found += end > index + 1 and _enumerates(nodes[index:end])
        index = end
    return found


def _minus(words: _Nodes) -> bool:
    """Tell whether a minus stands where no value is before it."""
    return any(
        node.text == "-" and (index == 0 or words[index - 1].text in _CONTINUES)
        for index, node in enumerate(words)
    )


def _is_comprehension(node: _Node) -> bool:
    return node.text in "[{" and any(one.kind == "op" and one.text == "|" for one in node.children)


def _next_is_body(nodes: _Nodes, start: int) -> bool:
    following = next((node for node in nodes[start:] if not node.blank), None)
    return following is None or following.text == "{"


def _line_end(nodes: _Nodes, start: int) -> int:
    """Return where a body without braces ends: with its line."""
    last = ""
    for index in range(start, len(nodes)):
        node = nodes[index]
        if node.kind in ("nl", "comment") and last not in _CONTINUES and last:
            return index
        if not node.blank:
            last = node.text
    return len(nodes)
