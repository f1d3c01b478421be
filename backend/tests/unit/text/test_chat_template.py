from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.text import ChatTemplateError, TextError, Tokenizer, encode_chat, render_chat
from tests.unit.text.folders import VECTORS, copy_tokenizer

LLADA = Tokenizer.load(VECTORS / "llada-tiny")
SPECIAL_IDS = set(LLADA.special_tokens.values())

pieces_of_specials = st.sampled_from(sorted(LLADA.special_tokens)).flatmap(
    lambda name: st.sampled_from([name, name[:4], name[4:], f" {name} "])
)
contents = st.lists(st.text(max_size=5) | pieces_of_specials, max_size=5).map("".join)


def render(template: str, *contents: str) -> str:
    messages = [{"role": "user", "content": content} for content in contents]
    return render_chat(template, messages, special={"bos_token": "<s>"}, add_generation_prompt=True)


def test_blocks_are_trimmed_as_in_transformers() -> None:
    template = "{% for m in messages %}\n    {% if loop.last %}\n[{{ m.content }}]\n    {% endif %}\n{% endfor %}"
    assert render(template, "a", "b") == "[b]\n"


def test_special_tokens_and_the_prompt_flag_are_given() -> None:
    assert render("{{ bos_token }}{{ missing }}{% if add_generation_prompt %}!{% endif %}") == "<s>!"


def test_joining_and_arithmetic_work() -> None:
    assert render("{{ 'a' ~ 1 ~ 'b' }} {{ 'a' + 'b' }} {{ [1] + [2] }} {{ 2 * 3 + 7 % 4 }}") == "a1b ab [1, 2] 9"


def test_loop_controls_and_json_work_as_in_transformers() -> None:
    template = "{% for m in messages %}{% if loop.index0 % 2 %}{% break %}{% endif %}{{ m | tojson }}{% endfor %}"
    assert render(template, "<é>", "b") == '{"role": "user", "content": "<é>"}'


def test_a_template_can_refuse() -> None:
    with pytest.raises(ChatTemplateError, match="refuses the messages: roles must alternate"):
        render("{{ raise_exception('roles must alternate') }}")


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ messages[0]['content'].format.__self__.upper() }}",
        "{% include 'other' %}",
        "{% for %}",
        "{{ 1 / 0 }}",
        "{{ 'a' + 1 }}",
        "{{ 'a' * 10000000000 }}",
        "{{ 'a' | center(10000000000) }}",
        "{{ 'a'.center(10000000000) }}",
        "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
        "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
        "{{ lipsum(n=1000000) }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ '%9999999999d' % 1 }}",
        "{{ range(10000000000) | list }}",
        "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}",
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
        "{% set t = range(400) | join %}{% for a in t %}{% for b in t %}{% endfor %}{% endfor %}",
        "{% for a in range(9000) %}{{ messages[0]['content'] }}{% endfor %}",
        "((" * 5000 + "{{ " + "(" * 5000,
    ],
)
def test_hostile_and_broken_templates_end_in_an_error(template: str) -> None:
    with pytest.raises(ChatTemplateError):
        render(template, "x" * 1000)


def test_attributes_of_python_objects_are_undefined() -> None:
    assert render("{{ ''.__class__ }}{{ '{0.__class__}'.format(1) }}{{ raise_exception.__globals__ }}") == ""


@given(st.lists(contents, min_size=1, max_size=3))
def test_only_the_template_writes_special_tokens(texts: list[str]) -> None:
    ids = encode_chat(LLADA, [{"role": "user", "content": text} for text in texts], True)
    one_message = [496, 497, 498]
    assert [i for i in ids if i in SPECIAL_IDS] == [480, *one_message * len(texts), 496, 497]


@given(contents)
def test_the_literal_text_of_a_message_survives(text: str) -> None:
    ids = encode_chat(LLADA, [{"role": "user", "content": text}], False)
    # Jinja's `trim` is Python's `strip`.
    rendered = f"<|startoftext|><|start_header_id|>user<|end_header_id|>\n\n{text.strip()}<|eot_id|>"
    assert LLADA.decode(ids, skip_special=False) == rendered


def test_halves_of_a_special_token_in_two_messages_do_not_join(tmp_path: Path) -> None:
    folder = copy_tokenizer("llada-tiny", tmp_path)
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    halves = [{"role": "user", "content": "<|mdm_"}, {"role": "user", "content": "mask|>"}]
    tokenizer = Tokenizer.load(folder)
    assert encode_chat(tokenizer, halves, False) == tokenizer.encode("<|mdm_mask|>")


def test_private_use_characters_in_a_message_survive() -> None:
    text = "".join(map(chr, range(0xF0000, 0xF0010))) + "<|eot_id|>"
    ids = encode_chat(LLADA, [{"role": "user", "content": text}], False)
    assert text in LLADA.decode(ids, skip_special=False)


def test_messages_that_leave_no_stand_in_are_refused() -> None:
    text = "".join(map(chr, range(0xF0000, 0xFFFFE)))
    with pytest.raises(ChatTemplateError, match="private-use"):
        encode_chat(LLADA, [{"role": "user", "content": text}], False)


@pytest.mark.parametrize("message", [{"role": "<|eot_id|>", "content": ""}, {"content": "x"}])
def test_unknown_roles_are_refused(message: dict[str, str]) -> None:
    with pytest.raises(ChatTemplateError, match="roles are system, user, assistant, tool"):
        encode_chat(LLADA, [message], True)


def test_a_checkpoint_without_a_template_says_so(dreamon: Tokenizer) -> None:
    with pytest.raises(ChatTemplateError, match="no chat template"):
        encode_chat(dreamon, [{"role": "user", "content": "x"}], True)


def test_a_lone_surrogate_in_a_message_is_a_text_error() -> None:
    with pytest.raises(TextError, match="lone surrogate"):
        encode_chat(LLADA, [{"role": "user", "content": "\udc00"}], True)
