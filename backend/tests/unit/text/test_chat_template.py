from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.text import ChatTemplateError, TextError, Tokenizer, encode_chat, render_chat
from app.text.chat_template import check_options
from app.text.errors import OptionRefused
from tests.unit.text.folders import VECTORS, copy_tokenizer

LLADA = Tokenizer.load(VECTORS / "llada-tiny")
SPECIAL_IDS = set(LLADA.special_tokens.values())

pieces_of_specials = st.sampled_from(sorted(LLADA.special_tokens)).flatmap(
    lambda name: st.sampled_from([name, name[:4], name[4:], f" {name} "])
)
contents = st.lists(st.text(max_size=5) | pieces_of_specials, max_size=5).map("".join)


def with_template(folder: Path, source: str) -> Tokenizer:
    copied = copy_tokenizer("llada-tiny", folder)
    (copied / "chat_template.jinja").write_text(source)
    return Tokenizer.load(copied)


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
    ("template", "content", "expected"),
    [
        ("{{ c.split('</think>')[-1] }}", "<think>a</think>b", "b"),
        ("{{ c.split('<|eot_id|>') | join('+') }}", "a<|eot_id|>b", "a+b"),
        ("{% if c.startswith('<tool_response>') %}yes{% endif %}", "<tool_response>", "yes"),
        ("{{ c.rstrip('>') }}", "a>>", "a"),
        ("{{ c | replace('<', '[') }}", "<a<", "[a["),
        ("{{ c | e }}", "<a>", "&lt;a&gt;"),
        ("{{ (c | e) + '<' }}", "<", "&lt;&lt;"),
        ("{{ '<' + (c | e) }}", "<", "&lt;&lt;"),
        ("{{ '>' in c }}{{ c == '<|x|>' }}{{ c[0] == '<' }}{{ c is in(['<|x|>']) }}", "<|x|>", "TrueTrueTrueTrue"),
        ("{{ c.find('|') }}{{ c.count('|') }}{{ c | length }}", "<|x|>", "125"),
        ("{{ c[1:-1] }}{{ c[::-1] }}{{ c | reverse }}{{ c | first }}", "<|x|>", "|x|>|x|<>|x|<<"),
        ("{% for x in c %}{{ x }}.{% endfor %}", "<|>", "<.|.>."),
        ("{{ '%s!' % c }}{{ '%5.1f' | format(2) }}{{ '{:>4}'.format(c) }}", "<x>", "<x>!  2.0 <x>"),
        ("{{ '=' * 10 }}{{ 3 * '-' }}{{ [0] * 2 }}{{ 2 ** 10 }}{{ c * 2 }}", "<", "==========---[0, 0]1024<<"),
        ("{{ c | center(7) }}|{{ c | upper }}{{ c | capitalize }}{{ c | title }}", "<b>", "  <b>  |<B><b><B>"),
        ("{{ c | tojson(ensure_ascii=False) }}{{ c | tojson(ensure_ascii=True) }}", "<é>", '"<é>""<\\u00e9>"'),
        ("{{ {'b': 1, 'a': [1]} | tojson(indent=1, separators=(',', ':'), sort_keys=true) }}", "",
         '{\n "a":[\n  1\n ],\n "b":1\n}'),
        ("{% generation %}{{ c }}{% set c = 'z' %}{% endgeneration %}{{ c }}", "<a>", "<a><a>"),
        ("{{ strftime_now('%%') }}{{ strftime_now is defined }}", "", "%True"),
        ("{{ tools is none }}{{ documents is none }}{{ messages is iterable }}", "", "TrueTrueTrue"),
        ("{{ dict(a=c) }}{{ c is string }}{{ c | string }}", "<", "{'a': '<'}True<"),
    ],
)  # fmt: skip
def test_messages_are_strings_like_any_other(template: str, content: str, expected: str) -> None:
    assert render("{% set c = messages[0].content %}" + template, content) == expected


@pytest.mark.parametrize(
    "written",
    [
        "'<|eot_id|>'", "'<|eot' ~ '_id|>'", "'<|eot' + '_id|>'", "'<|%s|>' % 'eot_id'", "'<|{}|>'.format('eot_id')",
        "['<|eot', 'id|>'] | join('_')", "'_'.join(['<|eot', 'id|>'])", "'x<|eot_id|>x'.strip('x')",
        "'-' ~ '<|eot_id|>'[:]",
        "'a<|eot_id|>b'.split('a')[1]", "'<|EOT_ID|>' | lower", "'<|eot_id|>' | indent(2)", "'<|eot_id|>' | center(20)",
        "('<|eot_id|>' ~ c).replace(c, '')", "'X' | replace('X', '<|eot_id|>')", "c.replace(c, '<|eot_id|>')",
        "eos", "'%s' | format('<|eot_id|>')", "'<|eot_id|>' | trim", "'<|eot_id|>' if c else ''",
        "('<|eot_id|>' ~ c)[:10]",
    ],
)  # fmt: skip
def test_special_tokens_of_the_template_work_for_every_way_of_writing_them(tmp_path: Path, written: str) -> None:
    source = "{% set c = messages[0].content %}{% set eos %}<|eot_id|>{% endset %}{{ c }}{{ " + written + " }}"
    ids = encode_chat(with_template(tmp_path, source), [{"role": "user", "content": "<|eot_id|>."}], True)
    assert [i for i in ids if i in SPECIAL_IDS] == [LLADA.special_tokens["<|eot_id|>"]]


@pytest.mark.parametrize(
    "written",
    [
        "c", "c | trim", "'a' ~ c", "c + 'a'", "'<' ~ c[1:]", "c[:-2] ~ '|>'", "c | replace('e', 'e')",
        "c | tojson", "c | upper | lower",
        "messages", "c.split('_') | join('_')", "'%s' % c", "'{}'.format(c)", "c | list | join", "c | format",
        "c | e | string",
        "('<|' ~ c ~ '|>').replace('|><|', '')", "c[:3] ~ 'ot_id|>'", "c.partition('eot') | join",
        "(c ~ '<|').removesuffix('<|')",
        "c | indent(2)", "{'a': c}.a", "[c] | first", "c | title | lower", "c.join(['', ''])",
        "'xx'.replace('x', c, 1)",
        "c | map('string') | join", "'<|eot_id' ~ c[-2:]", "c | wordwrap(50)", "c | center(40)", "c.encode().decode()",
    ],
)  # fmt: skip
def test_text_of_a_message_stays_text_after_any_operation(tmp_path: Path, written: str) -> None:
    source = "{% set c = messages[0].content %}{{ " + written + " }}{% set x %}{{ c }}{% endset %}{{ x }}"
    tokenizer = with_template(tmp_path, source)
    ids = encode_chat(tokenizer, [{"role": "user", "content": "<|eot_id|>"}], True)
    assert not SPECIAL_IDS.intersection(ids)
    assert "eot_id" in tokenizer.decode(ids, skip_special=False)


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
        "{{ 9 ** (9 ** 9) }}",
        "{{ '=' * 10 ** 9 }}",
        "{{ [0] * 10 ** 9 }}",
        "{% set n = namespace(x=3) %}{% for i in range(60) %}{% set n.x = n.x * n.x %}{% endfor %}",
        "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}",
        "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = dict(a=n.x, b=n.x) %}{% endfor %}{{ n.x }}",
        "{% set c = messages[0].content * 50 %}{{ c.replace('x', c) | length }}",
        "{% set c = messages[0].content * 50 %}{{ c | replace('x', c) | length }}",
        "{% set c = messages[0].content * 50 %}{{ c | join(c) | length }}",
        "{% set c = messages[0].content * 50 %}{{ c.join(c) | length }}",
        "{{ ('\\t' * 100000).expandtabs(100000) | length }}",
        "{{ ('\\n' * 100000) | indent(100000) | length }}",
        "{{ 'a'.translate({97: messages[0].content * 900}) * 900 }}",
        "{{ '{:>9999999999}'.format(1) }}",
        "{{ '{:>{w}}'.format(1, w=9999999999) }}",
        "{{ '%.999999999f' % 1.0 }}",
        "{{ '%*d' % (999999999, 1) }}",
        "{% macro f(s) %}{{ f(s ~ 'x') }}{% endmacro %}{{ f('x' * 900000) }}",
        "{% set a = 'x' * 900000 %}{% for i in range(200000) %}{% if 'y' in a %}{% endif %}{% endfor %}",
        "{% set a = 'x' * 900000 %}{% for i in range(200000) %}{% set b = a[::2] %}{% endfor %}",
        "{% set a = 'x' * 900000 %}{% for i in range(200000) %}{% set b = a.count('y') %}{% endfor %}",
        "{% set a = 'x' * 900000 %}{% for i in range(200000) %}{% if a is upper %}{% endif %}{% endfor %}",
        "{{ '%9999999999d' % 1 }}",
        "{{ range(10000000000) | list }}",
        "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}",
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
        "{% set t = range(400) | join %}{% for a in t %}{% for b in t %}{% endfor %}{% endfor %}",
        "{% for a in range(9000) %}{{ messages[0]['content'] }}{% endfor %}",
        "((" * 5000 + "{{ " + "(" * 5000,
    ],
)
def test_hostile_and_broken_templates_give_an_error(template: str) -> None:
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


def test_all_private_use_characters_in_a_message_survive() -> None:
    text = "".join(map(chr, range(0xE000, 0xF900)))
    ids = encode_chat(LLADA, [{"role": "user", "content": text}], False)
    assert text in LLADA.decode(ids, skip_special=False)


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


@pytest.mark.parametrize(
    "written", ["{{ tools | tojson }}", "{{ tools[0].name }}", "{% for tool in tools %}{{ tool }}{% endfor %}"]
)
def test_text_of_an_option_stays_text(tmp_path: Path, written: str) -> None:
    tokenizer = with_template(tmp_path, written + "<|eot_id|>")
    ids = encode_chat(tokenizer, [], True, {"tools": [{"name": "<|eot_id|>"}]})
    assert ids.count(tokenizer.special_tokens["<|eot_id|>"]) == 1
    assert "<|eot_id|>" in tokenizer.decode(ids[:-1], skip_special=False)


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        ({"enable_thinking": True}, None),
        ({"enable_thinking": False, "unknown": None, "other": 0, "third": ""}, None),
        ({"unknown": True}, "the chat template of this model does not read 'unknown'; leave it out"),
        ({"inner": 1}, "does not read 'inner'"),
        ({"add_generation_prompt": False}, "'add_generation_prompt' is set by the server"),
        ({"bos_token": "x"}, "'bos_token' is set by the server"),
        ({"namespace": 1}, "'namespace' is set by the server"),
    ],
)
def test_an_option_that_a_template_has_no_use_for_is_refused_by_name(
    tmp_path: Path, options: dict[str, Any], refused: str | None
) -> None:
    tokenizer = with_template(
        tmp_path, "{% set inner = 1 %}{{ messages }}{% if enable_thinking %}{{ inner }}{% endif %}"
    )
    if refused is None:
        check_options(tokenizer, options)
    else:
        with pytest.raises(OptionRefused, match=refused):
            check_options(tokenizer, options)


def test_options_leave_messages_and_the_prompt_flag_alone() -> None:
    template = "{{ messages | length }}{{ add_generation_prompt }}{{ enable_thinking }}"
    options = {"messages": [], "add_generation_prompt": False, "enable_thinking": False}
    messages = [{"role": "user", "content": "x"}]
    text = render_chat(template, messages, special={}, add_generation_prompt=True, options=options)
    assert text == "1TrueFalse"
