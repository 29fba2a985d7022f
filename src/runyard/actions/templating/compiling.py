# ruff: noqa: N802 - the names of the visitors are Jinja's
"""How a template becomes code that counts. Owns the code generator; the counting itself is the sandbox's.

Each visitor writes what Jinja writes, inside a call of the environment; tags that reach other templates or change the
evaluation are refused.
"""

from collections.abc import Callable, Iterator
from typing import NoReturn

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import TemplateSyntaxError
from jinja2.ext import Extension
from jinja2.lexer import Token, TokenStream

from runyard.actions.errors import TemplateTooExpensive
from runyard.actions.values import Json


class CountTokens(Extension):
    """Refuses templates of many tokens before they are parsed."""

    def filter_stream(self, stream: TokenStream) -> Iterator[Token]:
        """Count."""
        limit: int = getattr(self.environment, "token_limit", 0)
        for count, token in enumerate(stream):
            if count > limit:
                raise TemplateTooExpensive(f"the template has more than {limit} tokens")
            yield token


class Generator(CodeGenerator):
    """Writes code that counts. Each override adds a call around what Jinja writes."""

    def visit_For(self, node: nodes.For, frame: Frame) -> None:
        """Count the turns, each at the price of the literal text in the body."""
        if node.recursive:
            self._refuse("a recursive loop", node)
        literal = sum(len(text.data) for text in node.find_all(nodes.TemplateData))
        each = nodes.EnvironmentAttribute("each")
        node.iter = nodes.Call(each, [node.iter, nodes.Const(literal)], [], None, None, lineno=node.lineno)
        super().visit_For(node, frame)

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:
        """Count comparisons: two collections can take long to compare."""
        self._around("ticked", super().visit_Compare, node, frame)

    def visit_Test(self, node: nodes.Test, frame: Frame) -> None:
        """Count tests, comparisons by another name."""
        self._around("ticked", super().visit_Test, node, frame)

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:
        """Count slices, which copy."""
        self._around("ticked", super().visit_Getitem, node, frame)

    def visit_List(self, node: nodes.List, frame: Frame) -> None:
        """Measure lists written in the template."""
        self._around("weighed", super().visit_List, node, frame)

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:
        """Measure dictionaries written in the template."""
        self._around("weighed", super().visit_Dict, node, frame)

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:
        """Measure tuples written in the template, but not those that are assigned to."""
        if node.ctx == "load":
            self._around("weighed", super().visit_Tuple, node, frame)
        else:
            super().visit_Tuple(node, frame)

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        """Join texts within bounds."""
        self.write("environment.joined((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_Include(self, node: nodes.Include, frame: Frame) -> None:
        """Refuse: there is no other template."""
        del frame
        self._refuse("include", node)

    def visit_Import(self, node: nodes.Import, frame: Frame) -> None:
        """Refuse: there is no other template."""
        del frame
        self._refuse("import", node)

    def visit_FromImport(self, node: nodes.FromImport, frame: Frame) -> None:
        """Refuse: there is no other template."""
        del frame
        self._refuse("import", node)

    def visit_Extends(self, node: nodes.Extends, frame: Frame) -> None:
        """Refuse: there is no other template."""
        del frame
        self._refuse("extends", node)

    def visit_Block(self, node: nodes.Block, frame: Frame) -> None:
        """Refuse: blocks are for templates that extend others."""
        del frame
        self._refuse("block", node)

    def visit_EvalContextModifier(self, node: nodes.EvalContextModifier, frame: Frame) -> None:
        """Refuse: its option would be evaluated while compiling."""
        del frame
        self._refuse("autoescape", node)

    def visit_ScopedEvalContextModifier(self, node: nodes.ScopedEvalContextModifier, frame: Frame) -> None:
        """Refuse: its option would be evaluated while compiling."""
        del frame
        self._refuse("autoescape", node)

    def _around(
        self, name: str, visit: Callable[[Json, Frame], object], node: nodes.Node, frame: Frame
    ) -> None:
        self.write(f"environment.{name}(")
        visit(node, frame)
        self.write(")")

    def _refuse(self, what: str, node: nodes.Node) -> NoReturn:
        raise TemplateSyntaxError(f"{what} is not allowed in this template", node.lineno)
