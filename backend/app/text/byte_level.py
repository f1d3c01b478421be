"""The byte alphabet of GPT-2's byte-level BPE: every byte is written as one visible character.

Source: openai/gpt-2, `src/encoder.py`, `bytes_to_unicode`.
"""

_VISIBLE_BYTES = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHER_BYTES = [byte for byte in range(0x100) if byte not in _VISIBLE_BYTES]

_BYTE_OF_CHARACTER = {chr(byte): byte for byte in _VISIBLE_BYTES} | {
    chr(0x100 + index): byte for index, byte in enumerate(_OTHER_BYTES)
}
_BYTES_NEVER_IN_UTF8 = {0xC0, 0xC1, *range(0xF5, 0x100)}

# A vocabulary without one of these would silently lose text.
REQUIRED_CHARACTERS = frozenset(
    character for character, byte in _BYTE_OF_CHARACTER.items() if byte not in _BYTES_NEVER_IN_UTF8
)


def token_to_bytes(token: str) -> bytes:
    """The bytes that a vocabulary entry stands for; an entry outside the alphabet stands for itself."""
    try:
        return bytes(_BYTE_OF_CHARACTER[character] for character in token)
    except KeyError:
        return token.encode()
