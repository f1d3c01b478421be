"""Errors of the text layer.

TextError               also raised itself, for text that is not valid Unicode
├── TokenizerError      tokenizer files that are damaged, incomplete, or lack a token that is needed
├── ChatTemplateError   a chat template that is absent or broken
│   └── ConversationRefused   it works, and refuses this conversation or writes nothing of it
└── PatternError        a term or regular expression that cannot be looked for
"""


class TextError(Exception):
    """Root of everything that the text layer raises on purpose."""


class TokenizerError(TextError):
    """Tokenizer files that are damaged, incomplete, or lack a token that is needed."""


class ChatTemplateError(TextError):
    """A chat template that is absent or broken."""


class ConversationRefused(ChatTemplateError):
    """A conversation that a chat template refuses, or of which it writes nothing."""


class PatternError(TextError):
    """A term or regular expression that cannot be looked for."""
