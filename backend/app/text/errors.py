"""Errors of the text layer.

TextError               text that is not valid Unicode; root of the others
├── TokenizerError      tokenizer files are damaged, incomplete, or lack a token that is needed
├── ChatTemplateError   a chat template is missing or broken
│   ├── ConversationRefused   the template works, but refuses this conversation or writes nothing
│   └── OptionRefused         the template works, and has no use for an option
├── PatternError        a term or regular expression cannot be searched for
└── ConstraintError     a constraint cannot be honoured, or no text satisfies it
"""


class TextError(Exception):
    """The root of all errors that the text layer raises on purpose."""


class TokenizerError(TextError):
    """The tokenizer files are damaged, incomplete, or lack a token that is needed."""


class ChatTemplateError(TextError):
    """The chat template is missing or broken."""


class ConversationRefused(ChatTemplateError):
    """The chat template refuses a conversation, or writes nothing for it."""


class OptionRefused(ChatTemplateError):
    """A chat template has no use for an option of a request."""


class PatternError(TextError):
    """A term or regular expression cannot be searched for."""


class ConstraintError(TextError):
    """A constraint cannot be honoured, or no text satisfies it.

    The keyword is the one of a JSON schema, or the construct of a regular expression, that is not honoured.
    """

    def __init__(self, message: str, keyword: str | None = None) -> None:
        super().__init__(message)
        self.keyword = keyword
