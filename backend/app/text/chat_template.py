"""Chat messages to token ids, by the template that a checkpoint brings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from itertools import islice
from typing import Any, NoReturn, TypeVar

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from app.text.errors import ChatTemplateError
from app.text.tokenizer import Tokenizer

ROLES = ("system", "user", "assistant", "tool")

_STEP_LIMIT = 100_000
_OUTPUT_LIMIT_CHARACTERS = 2**20
_PRIVATE_USE = range(0xF0000, 0xFFFFE)

Item = TypeVar("Item")


def encode_chat(tokenizer: Tokenizer, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool) -> list[int]:
    """The ids of a conversation: `messages` have a `role` (one of `ROLES`) and a `content`.

    Special tokens that the template writes become ids; the same strings inside a message stay text.

    Raises:
        ChatTemplateError: no template, an unknown role, or the template fails or refuses the messages.
        TextError: a message holds a lone surrogate.
    """
    template = _require_template(tokenizer)
    _require_known_roles(messages)
    stand_ins = _stand_ins(tokenizer.special_tokens, [template, *(m[key] for m in messages for key in m)])
    rendered = render_chat(
        template,
        [_protected(message, stand_ins) for message in messages],
        special=tokenizer.role_tokens,
        add_generation_prompt=add_generation_prompt,
    )
    originals = {ord(stand_in): chr(original) for original, stand_in in stand_ins.items()}
    ids: list[int] = []
    for piece in tokenizer.split_special(rendered):
        ids += [piece] if isinstance(piece, int) else tokenizer.encode(piece.translate(originals))
    return ids


def render_chat(
    template: str,
    messages: Sequence[Mapping[str, str]],
    *,
    special: Mapping[str, str],
    add_generation_prompt: bool,
) -> str:
    """The text that a Jinja template makes of the messages, in a sandbox and with bounded work.

    `special` gives the template `bos_token`, `eos_token` and the like. Whitespace is handled as in
    Hugging Face transformers, so that published templates give the published text.

    Raises:
        ChatTemplateError: the template is wrong, does something forbidden, or refuses the messages.
    """
    try:
        sandbox = _Sandbox()
        pieces = sandbox.compile_bounded(template).generate(
            messages=[dict(message) for message in messages],
            add_generation_prompt=add_generation_prompt,
            **special,
        )
        return "".join(_limited(pieces))
    except ChatTemplateError:
        raise
    except Exception as error:  # a template's expressions can raise anything that Python can
        raise ChatTemplateError(f"the chat template failed: {type(error).__name__}: {error}") from error


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja for a template that nobody has read: no attributes of Python objects, no endless work.

    Every call, every number of a `range` and every turn of a loop takes one step of a fixed budget, so
    nested loops end; joined strings and padding have a limit. This is no limit on memory as such: a
    checkpoint's template deserves as much trust as its weights. One instance renders one conversation.
    """

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
        self._steps = 0
        self.filters["tojson"] = _to_json
        self.filters["counted"] = self._counted
        self.filters["short"] = _short
        for padding in ("center", "format", "batch", "slice"):
            del self.filters[padding]
        del self.globals["lipsum"]
        self.globals["range"] = self._range
        self.globals["raise_exception"] = _raise_exception

    def compile_bounded(self, source: str) -> jinja2.Template:
        tree = self.parse(source)
        for loop in list(tree.find_all(nodes.For)):
            loop.iter = self._filtered(loop.iter, "counted")
        for concatenation in list(tree.find_all(nodes.Concat)):
            concatenation.nodes = [self._filtered(nodes.Concat(concatenation.nodes), "short")]
        return self.from_string(tree)

    def _filtered(self, node: nodes.Node, name: str) -> nodes.Filter:
        return nodes.Filter(node, name, [], [], None, None, environment=self)

    def call(self, context: Context, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        self._spend(1)
        for argument in (*args, *kwargs.values()):
            if isinstance(argument, int) and argument > _STEP_LIMIT:
                raise SecurityError(f"the number {argument} is over the limit of {_STEP_LIMIT}")
        return super().call(context, function, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """`'a' * 10**10` and `'%999999999d' % 1` would fill the memory: they are for numbers."""
        are_numbers = isinstance(left, int | float) and isinstance(right, int | float)
        if operator == "**" or (operator != "+" and not are_numbers):
            raise SecurityError(f"the operator {operator} is not allowed here")
        result = super().call_binop(context, operator, left, right)
        return result if are_numbers else _short(result)

    def _counted(self, items: Iterable[Item]) -> Iterator[Item]:
        for item in items:
            self._spend(1)
            yield item

    def _range(self, *bounds: int) -> range:
        numbers = range(*bounds)
        self._spend(len(numbers))
        return numbers

    def _spend(self, steps: int) -> None:
        self._steps += steps
        if self._steps > _STEP_LIMIT:
            raise SecurityError(f"the template takes more than {_STEP_LIMIT} steps")


def _require_template(tokenizer: Tokenizer) -> str:
    if tokenizer.chat_template is None:
        raise ChatTemplateError("this checkpoint has no chat template; send a plain prompt instead of messages")
    return tokenizer.chat_template


def _require_known_roles(messages: Sequence[Mapping[str, str]]) -> None:
    # Templates such as '<|' + role + '|>' would let a free role name any special token.
    for message in messages:
        if message.get("role") not in ROLES:
            raise ChatTemplateError(f"unknown role {message.get('role')!r}; roles are {', '.join(ROLES)}")


def _stand_ins(special_tokens: Iterable[str], texts: Sequence[str]) -> dict[int, str]:
    """For every character that a special token begins or ends with, one that occurs in none of the texts.

    With these in a message no special token can begin or end inside it, not even one whose other half
    is in the next message; being single characters, they pass filters such as `trim` as the original does.
    """
    names = [name.strip() for name in special_tokens if name.strip()]
    borders = sorted({character for name in names for character in (name[0], name[-1])})
    used = set().union(*texts)
    free = list(islice((chr(code) for code in _PRIVATE_USE if chr(code) not in used), len(borders)))
    if len(free) < len(borders):
        raise ChatTemplateError("the messages use up Unicode's private-use characters; send fewer of them")
    return {ord(border): stand_in for border, stand_in in zip(borders, free, strict=True)}


def _protected(message: Mapping[str, str], stand_ins: Mapping[int, str]) -> dict[str, str]:
    return {key: text if key == "role" else text.translate(stand_ins) for key, text in message.items()}


def _limited(pieces: Iterable[str]) -> Iterator[str]:
    length = 0
    for piece in pieces:
        length += len(piece)
        if length > _OUTPUT_LIMIT_CHARACTERS:
            raise ChatTemplateError(f"the chat template writes more than {_OUTPUT_LIMIT_CHARACTERS} characters")
        yield piece


def _short(joined: Sized) -> Sized:
    """Refuse what grows by being joined to itself, over and over."""
    if len(joined) > _OUTPUT_LIMIT_CHARACTERS:
        raise SecurityError(f"a string or list is longer than the limit of {_OUTPUT_LIMIT_CHARACTERS}")
    return joined


def _to_json(value: Any, indent: int | None = None) -> str:
    """Jinja's own filter escapes for HTML, which a prompt is not."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise_exception(message: str) -> NoReturn:
    """What published templates call to refuse a conversation."""
    raise ChatTemplateError(f"the chat template refuses the messages: {message}")
