"""The chat template of a checkpoint turns messages into token ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from jinja2.meta import find_undeclared_variables

from app.text.errors import ChatTemplateError, ConversationRefused, OptionRefused
from app.text.provenance import Traced, own
from app.text.template_sandbox import Sandbox
from app.text.tokenizer import Tokenizer

ROLES = ("system", "user", "assistant", "tool")

MAX_TEMPLATE_CHARACTERS = 2**20
NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})
_GIVEN = frozenset({"messages", "tools", "documents", "add_generation_prompt", *Sandbox().globals})
"""Variables that a template gets anyway, beside the special tokens; an option of a request has another name."""
_WAY_OUT = "mend it, or remove it to have conversations written plainly"
_PRIVATE_USE = range(0xE000, 0xF900)


class ChatTemplate:
    """A Jinja template, compiled; immutable, and safe to use from several threads at once.

    Raises:
        ChatTemplateError: it is no template, or too large for one.
    """

    def __init__(self, source: str) -> None:
        if len(source) > MAX_TEMPLATE_CHARACTERS:
            raise ChatTemplateError(
                f"the chat template has {len(source)} characters, more than the maximum of {MAX_TEMPLATE_CHARACTERS}"
            )
        try:
            self._code = Sandbox().compile_template(source)
            self._read = find_undeclared_variables(Sandbox().parse(source))
        except Exception as error:  # whatever Jinja or Python raise for what they cannot compile
            raise ChatTemplateError(_broken(error)) from error

    def check_options(self, options: Mapping[str, Any], special: Mapping[str, str]) -> None:
        """Refuses an option that would hide what every template gets, and one that asks for something that this
        template does not read. `None`, `False`, 0 and an empty text ask for nothing.

        Args:
            special: as for `render`.

        Raises:
            OptionRefused: names the option.
        """
        for name, value in options.items():
            if name in _GIVEN or name in special:
                raise OptionRefused(f"{name!r} is set by the server, and is no option of a chat template; leave it out")
            if value and name not in self._read:
                raise OptionRefused(f"the chat template of this model does not read {name!r}; leave it out")

    def render(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        special: Mapping[str, str],
        add_generation_prompt: bool,
        options: Mapping[str, Any] = NO_OPTIONS,
    ) -> Traced:
        """The text of a conversation, as transformers renders it, with marks for what the template wrote.

        Args:
            messages: each with a `role` and a `content`.
            special: the texts that the template knows as `bos_token`, `eos_token` and the like.
            options: further variables of JSON that the template may know, such as `tools` and `enable_thinking`. Their
                text is text, as that of the messages.

        Raises:
            ChatTemplateError: the template fails, does something forbidden, or takes too much work.
            ConversationRefused: the template refuses the messages.
        """
        # A role is one of a few words, and some templates spell special tokens with it.
        turns = [{**message, "role": own(message["role"])} for message in messages]
        variables = {
            "tools": None,
            "documents": None,
            **options,
            **{name: own(text) for name, text in special.items()},
            "messages": turns,
            "add_generation_prompt": add_generation_prompt,
        }
        try:
            return Sandbox().render(self._code, variables)
        except ConversationRefused:
            raise
        except Exception as error:  # a template's expressions can raise anything that Python can
            raise ChatTemplateError(_broken(error)) from error


@lru_cache(maxsize=16)
def compiled(source: str) -> ChatTemplate:
    """The template of this source, compiled once. Raises ChatTemplateError."""
    return ChatTemplate(source)


def check_chat_template(tokenizer: Tokenizer) -> None:
    """Renders the shortest conversation with a checkpoint's template, if it has one.

    Raises:
        ChatTemplateError: the template is broken, fails, or writes nothing.
    """
    if tokenizer.chat_template is None:
        return
    greeting = [{"role": "user", "content": "Hello"}]
    try:
        ids = encode_chat(tokenizer, greeting, add_generation_prompt=True)
    except ConversationRefused:
        return
    except ChatTemplateError as error:
        raise ChatTemplateError(f"{error}; {_WAY_OUT}") from error
    if not ids:
        raise ChatTemplateError(f"the chat template writes nothing for a user's message; {_WAY_OUT}")


def check_options(tokenizer: Tokenizer, options: Mapping[str, Any]) -> None:
    """Refuses options that the checkpoint's chat template has no use for; see `ChatTemplate.check_options`.

    Raises:
        OptionRefused: names the option.
    """
    if tokenizer.chat_template is not None:
        compiled(tokenizer.chat_template).check_options(options, tokenizer.role_tokens)
    elif asking := next((name for name, value in options.items() if value), None):
        raise OptionRefused(f"this model has no chat template that could read {asking!r}; leave it out")


def encode_chat(
    tokenizer: Tokenizer,
    messages: Sequence[Mapping[str, str]],
    add_generation_prompt: bool,
    options: Mapping[str, Any] = NO_OPTIONS,
) -> list[int]:
    """The ids of a conversation: `messages` have a `role` (one of `ROLES`) and a `content`; for `options` see
    `ChatTemplate.render`.

    Special tokens that the template writes become ids; the same strings inside a message stay text.

    Raises:
        ChatTemplateError: there is no template, or it fails.
        ConversationRefused: a role is unknown, or the template refuses the messages.
        TextError: a message holds a lone surrogate.
    """
    if tokenizer.chat_template is None:
        raise ChatTemplateError("this checkpoint has no chat template; send a plain prompt instead of messages")
    _require_known_roles(messages)
    rendered = compiled(tokenizer.chat_template).render(
        messages, special=tokenizer.role_tokens, add_generation_prompt=add_generation_prompt, options=options
    )
    return encode_traced(tokenizer, rendered)


def encode_traced(tokenizer: Tokenizer, text: Traced) -> list[int]:
    """The ids of a text; only what the template wrote can become a special token."""
    # White space stays: some special tokens absorb the white space beside them.
    masked = text.masked(_stand_in(tokenizer.special_tokens))
    ids, end = [], 0
    for start, stop, token_id in tokenizer.special_spans(masked):
        ids += [*tokenizer.encode(text[end:start]), token_id]
        end = stop
    return ids + tokenizer.encode(text[end:])


def render_chat(
    template: str,
    messages: Sequence[Mapping[str, str]],
    *,
    special: Mapping[str, str],
    add_generation_prompt: bool,
    options: Mapping[str, Any] = NO_OPTIONS,
) -> str:
    """The text that a Jinja template makes of the messages; see `ChatTemplate.render`."""
    return ChatTemplate(template).render(
        messages, special=special, add_generation_prompt=add_generation_prompt, options=options
    )


def _require_known_roles(messages: Sequence[Mapping[str, str]]) -> None:
    # Templates such as '<|' + role + '|>' would let a free role name any special token.
    for message in messages:
        if message.get("role") not in ROLES:
            raise ConversationRefused(f"unknown role {message.get('role')!r}; roles are {', '.join(ROLES)}")


def _stand_in(special_tokens: Iterable[str]) -> str:
    """A character that no special token holds."""
    used = set().union(*special_tokens)
    return next(chr(code) for code in _PRIVATE_USE if chr(code) not in used)


def _broken(error: Exception) -> str:
    return f"the chat template is broken: {type(error).__name__}: {error}"
