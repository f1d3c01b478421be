from app.text.byte_level import REQUIRED_CHARACTERS, token_to_bytes


def test_visible_bytes_stand_for_themselves_and_others_are_moved_up() -> None:
    assert token_to_bytes("hello") == b"hello"
    assert token_to_bytes("ĠĊ") == b" \n"


def test_a_token_outside_the_alphabet_stands_for_itself() -> None:
    assert token_to_bytes("<|日|>") == "<|日|>".encode()


def test_every_byte_that_utf8_uses_is_required() -> None:
    assert {token_to_bytes(character)[0] for character in REQUIRED_CHARACTERS} == {
        *range(0x80),
        *range(0x80, 0xC0),
        *range(0xC2, 0xF5),
    }
