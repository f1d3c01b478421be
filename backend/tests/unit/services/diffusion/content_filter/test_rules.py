import os
from pathlib import Path

import pytest

from app.services.diffusion.content_filter.rules import MAX_FILE_BYTES, Rule, read_rules
from app.services.diffusion.errors import InvalidParameters
from app.text.search import find_all
from tests.unit.services.diffusion.documentation import documented


def rules_of(folder: Path, text: str) -> list[Rule]:
    file = folder / "rules.toml"
    file.write_text(text, encoding="utf-8", newline="")
    return read_rules(str(file))


def complaint_about(path: Path) -> str:
    with pytest.raises(InvalidParameters) as caught:
        read_rules(str(path))
    assert caught.value.field == "content_filter"
    message = str(caught.value)
    assert message.startswith(f"content_filter: {path}: ")
    assert "\n" not in message
    return message.removeprefix(f"content_filter: {path}: ")


def test_a_rule_with_everything(tmp_path: Path) -> None:
    (rule,) = rules_of(
        tmp_path,
        """
        [[rule]]
        name = "projects"
        terms = ["Osiris", "Anubis two"]
        action = "mask"
        mask = "[project]"
        applies_to = ["output"]
        ignore_case = false
        whole_words = false
        max_length = 50
        """,
    )
    assert (rule.name, rule.action, rule.mask, list(rule.applies_to)) == ("projects", "mask", "[project]", ["output"])
    (pattern,) = rule.patterns
    assert find_all(pattern, "osiris xOsirisx") == [(8, 14)]
    assert pattern.max_length == 50


def test_the_example_of_the_documentation(tmp_path: Path) -> None:
    names, cards, recipes = rules_of(tmp_path, documented("toml"))
    assert (names.action, cards.mask, recipes.action) == ("mask", "[card]", "refuse")
    assert find_all(cards.patterns[0], "pay 4111 1111-11111111 now") == [(4, 22)]


def test_the_defaults_of_a_rule(tmp_path: Path) -> None:
    terms, pattern = rules_of(
        tmp_path, "[[rule]]\nname = 'a'\nterms = ['word']\n[[rule]]\r\nname = 'b'\r\npattern = 'w[o]rd'\r\n"
    )
    assert (terms.action, terms.mask, list(terms.applies_to)) == ("refuse", "*", ["input", "output"])
    assert find_all(terms.patterns[0], "WORD words") == [(0, 4)]
    assert find_all(pattern.patterns[0], "WORD words") == [(0, 4), (5, 9)]


GOOD = "[[rule]]\nname = 'good'\nterms = ['x']\n\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "it has no [[rule]] table; an empty setting switches the filter off"),
        ("rule = 3", "it has no [[rule]] table"),
        ("[[rules]]\nname = 'x'", "'rules' is unknown; it holds [[rule]] tables and nothing else"),
        ("[[rule]]\nname = \n", "Invalid value (at line 2, column 8)"),
        ("x = " + "[" * 5_000, "it is nested too deep"),
        ("[[rule]]\nterms = ['x']", "line 1: rule 1: name is missing"),
        ("[[rule]]\nname = 'n'", "line 1: rule 1 ('n'): give either terms or a pattern"),
        ("[[rule]]\nname = 'n'\nterms = ['x']\npattern = 'y'", "line 1: rule 1 ('n'): give either terms or a pattern"),
        (GOOD + "[[rule]]\nname = 'n'\npattern = '('", "line 5: rule 2 ('n'): pattern: missing ): ("),
        (GOOD + "[[rule]]\nname = 'n'\npattern = 'a*'", "line 5: rule 2 ('n'): pattern: it matches the empty text"),
        (GOOD + "[[rule]]\nname = 'n'\nterms = ['\u200b']", "line 5: rule 2 ('n'): terms: the term '\\u200b' has noth"),
        (GOOD + "[[rule]]\nname = 'n'\nterms = []", "line 5: rule 2 ('n'): terms=[] should have at least 1 item"),
        (
            GOOD + "[[rule]]\nname = 'n'\nterm = ['a']",
            "line 5: rule 2 ('n'): unknown key 'term'; known are name, terms",
        ),
        (GOOD + "[[rule]]\nname = 'good'\nterms = ['y']", "line 5: rule 2 ('good'): an earlier rule has this name"),
        (GOOD + "[[rule]]\nname = 'n'\nterms = ['y']\naction = 'hide'", "('n'): action='hide' should be 'refuse' or"),
        (GOOD + "[[rule]]\nname = 'n'\nterms = ['y']\nmask = ''", "('n'): mask='' should have at least 1 character"),
        (GOOD + "[[rule]]\nname = 'n'\nterms = ['y']\nmax_length = 5000", "max_length=5000 should be less than or"),
        (GOOD + "[[rule]]\nname = 'n'\nterms = 'y'", "line 5: rule 2 ('n'): terms='y' should be a valid list"),
        (GOOD + "[[rule]]\nname = 5\nterms = ['y']", "line 5: rule 2 (5): name=5 should be a valid string"),
        ("rule = [1]", "rule 1: it is no table"),
        ("".join(f"[[rule]]\nname = '{n}'\nterms = ['x']\n" for n in range(201)), "it has 201 rules, more than 200"),
    ],
)
def test_an_error_in_a_rules_file_is_one_line_with_its_position(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "rules.toml"
    file.write_text(text, encoding="utf-8")
    assert complaint in complaint_about(file)


def test_a_rules_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    assert "no such file" in complaint_about(tmp_path / "absent.toml")
    assert "not a regular one" in complaint_about(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    assert "not a regular one" in complaint_about(tmp_path / "fifo")
    assert "not a regular one" in complaint_about(Path("/dev/zero"))
    (tmp_path / "large").write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    assert "more than 262144 bytes" in complaint_about(tmp_path / "large")
    (tmp_path / "binary").write_bytes(b"# one\n# two\n\xff")
    assert complaint_about(tmp_path / "binary") == "line 3: it is not UTF-8"
    assert complaint_about(Path("a\0b"))


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secret.toml"
    file.write_text(GOOD)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert "it cannot be read" in complaint_about(file)
