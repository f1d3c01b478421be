"""Renders chat templates as Hugging Face transformers does, but bounded, and with marks for the template's own text.

The settings, filters and functions are those of `transformers/utils/chat_template_utils.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import wraps
from types import CodeType
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.ext import Extension
from jinja2.filters import make_attrgetter
from jinja2.nodes import EvalContext
from jinja2.parser import Parser
from jinja2.runtime import Context, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter

from app.text.errors import ConversationRefused
from app.text.provenance import Traced, followed, joined, own, traced
from app.text.template_limits import (
    Budget,
    require_small_arithmetic,
    require_small_format,
    require_small_numbers,
    require_small_product,
)

_REPEATING = frozenset({"replace", "join", "expandtabs", "translate", "indent", "wordwrap", "tojson", "urlize"})
"""The filters and string methods that may repeat one of their values for each element of another."""
_FOLLOWED = frozenset({"indent", "wordwrap", "title"})
"""The filters that take a string apart and put it together again."""
_METHODS_WITH_TEXT = frozenset({"replace", "join"})
"""The string methods whose result contains their arguments."""


class TracingCodeGenerator(CodeGenerator):
    """Compiles templates to Python that marks the template's own text and pays for the values it makes."""

    def visit_Const(self, node: nodes.Const, frame: Frame) -> None:
        if isinstance(node.value, str):
            self.write(f"environment.own({node.value!r})")
        else:
            super().visit_Const(node, frame)

    def visit_TemplateData(self, node: nodes.TemplateData, frame: Frame) -> None:
        self.write(f"environment.own({node.data!r})")

    def _output_const_repr(self, group: Iterable[Any]) -> str:
        return f"environment.own({super()._output_const_repr(group)})"

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.concat(map(environment.written, (")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write(")))")

    def visit_List(self, node: nodes.List, frame: Frame) -> None:
        self._paid(super().visit_List, node, frame)

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:
        self._paid(super().visit_Dict, node, frame)

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:
        if node.ctx == "load":
            self._paid(super().visit_Tuple, node, frame)
        else:
            super().visit_Tuple(node, frame)

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:
        if isinstance(node.arg, nodes.Slice):
            self._paid(super().visit_Getitem, node, frame)
        else:
            super().visit_Getitem(node, frame)

    def _paid(self, visit: Callable[[Any, Frame], None], node: nodes.Node, frame: Frame) -> None:
        self.write("environment.made(")
        visit(node, frame)
        self.write(")")


class _Generation(Extension):
    """The tag `{% generation %}`, which marks what a model is trained on; here it gives the text inside."""

    tags = {"generation"}  # noqa: RUF012  # as Jinja declares it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_inside"), [], [], body).set_lineno(line)

    def _inside(self, caller: Macro) -> str:
        return str(caller())


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja for templates that nobody has reviewed: no attributes of Python objects, and work within a budget.

    One instance compiles one template, or renders one conversation.
    """

    code_generator_class = TracingCodeGenerator
    intercepted_binops = frozenset({"+", "*", "**", "%"})
    own = staticmethod(own)

    def __init__(self) -> None:
        self._budget = Budget()
        self.made = self._budget.made
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_Generation, "jinja2.ext.loopcontrols"],
            optimized=False,
            finalize=self.written,
        )
        self.filters |= {"tojson": _to_json, "join": self._join}
        self.filters = {name: self._bounded(name, function) for name, function in self.filters.items()}
        self.filters["counted"] = self._budget.counted
        self.filters["paid"] = self._budget.made
        del self.globals["lipsum"]
        self.globals |= {
            "dict": _dictionary,
            "range": self._range,
            "raise_exception": _raise_exception,
            "strftime_now": _strftime_now,
        }

    def compile_template(self, source: str) -> CodeType:
        """The code of a template, for any instance.

        Raises:
            jinja2.TemplateSyntaxError, and others: the template cannot be compiled.
        """
        tree = self.parse(source)
        for loop in list(tree.find_all(nodes.For)):
            loop.iter = self._filtered(loop.iter, "counted")
        for comparison in list(tree.find_all(nodes.Compare)):
            comparison.expr = self._filtered(comparison.expr, "paid")
            for operand in comparison.ops:
                operand.expr = self._filtered(operand.expr, "paid")
        for test in list(tree.find_all(nodes.Test)):
            if test.name not in ("defined", "undefined"):
                test.node = self._filtered(test.node, "paid")
        code: CodeType = self.compile(tree)
        return code

    def render(self, code: CodeType, variables: dict[str, Any]) -> Traced:
        """The text that a template makes from the variables; raises whatever its expressions raise."""
        template = jinja2.Template.from_code(self, code, self.make_globals(None))
        return traced(template.render(variables))

    def written(self, value: Any) -> str:
        """The value as text; numbers count as the template's own, since they spell no token alone."""
        self.made(value)
        return own(str(value)) if isinstance(value, int | float) else str(value)

    def concat(self, pieces: Iterable[str]) -> Traced:
        """The text of a template, a macro or a block, joined from its pieces and paid for."""
        return self.made(joined(self.made(piece) for piece in pieces))

    def call(self, context: Context, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        self._budget.step()
        given = (*args, *kwargs.values())
        require_small_numbers(given)
        text, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
        if isinstance(text, str) and name in _REPEATING:
            require_small_product(text, given)
        if type(text) is str and name in _METHODS_WITH_TEXT:
            function = getattr(traced(text), name)
        self.made((text, *given) if isinstance(text, str) else given)
        return self.made(super().call(context, function, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        require_small_arithmetic(operator, left, right)
        return self.made(super().call_binop(context, operator, left, right))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        sandboxed = super().wrap_str_format(value)
        if sandboxed is None:
            return None
        formatter = SandboxedFormatter(self)

        def bounded(*args: Any, **kwargs: Any) -> str:
            values = dict(args[0]) if value.__name__ == "format_map" else kwargs
            positional = () if value.__name__ == "format_map" else args
            require_small_format(value.__self__, (positional, values))
            return followed(formatter.vformat, value.__self__, positional, values)

        return bounded

    def _bounded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def bounded(*args: Any, **kwargs: Any) -> Any:
            self._budget.step()
            given = (*args, *kwargs.values())
            require_small_numbers(given)
            values = [value for value in given if not isinstance(value, EvalContext | Context | jinja2.Environment)]
            self.made([value for value in values if isinstance(value, str)])
            if name in _REPEATING and values:
                require_small_product(values[0], values[1:])
            if name == "replace":
                args = tuple(traced(value) if type(value) is str else value for value in args)
            if name in _FOLLOWED and any(isinstance(value, Traced) for value in values):
                return self.made(followed(function, *args, **kwargs))
            return self.made(function(*args, **kwargs))

        return bounded

    def _join(self, value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
        """Jinja's filter `join`, whose text keeps its marks."""
        items = value if attribute is None else map(make_attrgetter(self, attribute), value)
        texts = [self.written(item) for item in items]
        require_small_product(texts, [d])
        return traced(str(d)).join(texts)

    def _filtered(self, node: nodes.Node, name: str) -> nodes.Filter:
        return nodes.Filter(node, name, [], [], None, None, environment=self)

    def _range(self, *bounds: int) -> range:
        numbers = range(*bounds)
        self._budget.step(len(numbers))
        return numbers


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """The value as JSON; Jinja's own filter would escape it for HTML, which a prompt is not."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _dictionary(*args: Any, **kwargs: Any) -> dict[Any, Any]:
    """A dictionary for a template; the class itself has attributes that a template must not see."""
    return dict(*args, **kwargs)


def _strftime_now(format: str) -> str:
    return datetime.now().strftime(format)


def _raise_exception(message: str) -> NoReturn:
    """Refuses a conversation, as published templates do."""
    raise ConversationRefused(f"the chat template refuses the messages: {message}")
