"""Draws what the small language model is asked for: five kinds of text, their words and their first words by seed."""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

WORDS = Path(__file__).parent / "words.toml"


@dataclass(frozen=True, slots=True)
class Draft:
    """A request to the writer, and the first words of the answer, which the writer finds already written."""

    kind: str
    request: str
    beginning: str
    question: str = ""
    """The turn of the user that the text shows, in conversations."""
    closing: str = ""
    """The words that lead a long text to its end."""


@cache
def word_lists() -> dict[str, tuple[str, ...]]:
    """The lists of `words.toml` by name."""
    table = tomllib.loads(WORDS.read_text())
    return {name: _entries(text, "|" if name == "questions" else ",") for name, text in table.items()}


def _entries(text: str, separator: str) -> tuple[str, ...]:
    return tuple(" ".join(entry.split()) for entry in text.split(separator) if entry.strip())


def draw(seed: int, index: int) -> Draft:
    """The draft number `index` of a seed."""
    chance = random.Random(f"{seed}:{index}")
    [kind] = chance.choices(list(SHARES), list(SHARES.values()))
    return DRAWS[kind](chance)


def _one(chance: random.Random, name: str) -> str:
    return chance.choice(word_lists()[name])


def _a(phrase: str) -> str:
    """The phrase with its indefinite article."""
    return f"{'an' if phrase[0] in 'aeiou' and not phrase.startswith(('use', 'uni')) else 'a'} {phrase}"


_STORY_BEGINNINGS = (
    "Once upon a time, {place}, there lived {hero} named {name}.",
    "Once upon a time, {place}, there was {hero} named {name}",
    "Once upon a time, {place}, {hero} named {name}",
    "Once upon a time, {place},",
    "Once upon a time, there was {hero} named {name}. {name}",
    "Once upon a time, there was {hero} named {name} who",
    "Once there was {hero} named {name}, who lived {place}.",
    "One day, {hero} named {name}",
    "One morning, {name} woke up and",
    "{name} was {hero} who lived {place}.",
    "{name} and {other} were best friends. One day, they",
    "{Place}, there lived {hero} named {name}.",
    "Long ago, {place}, there was {hero} named {name}.",
    "It was a {weather} day, and {name}",
    "One day, {name} found {thing}",
    "{name} had {thing} and",
    "There was once {hero} named {name} who wanted to {verb}",
)
_STORY_CLOSINGS = (
    "\n\nIn the end,",
    "\n\nFrom that day on,",
    "\n\nAt the end of the day,",
    "\n\nThat night,",
    "\n\nAfter that,",
    "\n\nAnd so,",
    "\n\nAt last,",
    "\n\nEveryone was",
    "\n\nThe moral of the story is",
)


def _story(chance: random.Random) -> Draft:
    name, being = _hero(chance)
    hero = _a(f"{_one(chance, 'characters')} {being}")
    place = _one(chance, "places")
    thing = _a(f"{_one(chance, 'qualities')} {_one(chance, 'nouns')}")
    feature = chance.choice([_one(chance, "features"), thing])
    request = chance.choice(_STORY_REQUESTS).format(hero=hero, name=name, feature=feature)
    beginning = chance.choice(_STORY_BEGINNINGS).format(
        place=place,
        Place=place.capitalize(),
        hero=hero,
        name=name,
        other=chance.choice([other for other in _names() if other != name]),
        thing=thing,
        verb=_one(chance, "verbs"),
        weather=_one(chance, "weathers"),
    )
    closing = chance.choice(_STORY_CLOSINGS).format(name=name)
    return Draft("story", _articles(request), _articles(beginning), closing=closing)


_STORY_REQUESTS = (
    "Tell me a bedtime story about {hero} named {name} and {feature}.",
    "Tell me a bedtime story about {hero} named {name} and {feature}.",
    "Tell me a story about {hero} named {name} and {feature}.",
    "Write a short story about {hero} named {name}, with {feature}.",
)


def _hero(chance: random.Random) -> tuple[str, str]:
    """A name and a being that fit each other."""
    names, beings = chance.choice(
        [("girls", "daughters"), ("boys", "sons"), ("girls", "creatures"), ("boys", "creatures")]
    )
    return _one(chance, names), _one(chance, beings)


def _names() -> tuple[str, ...]:
    return word_lists()["girls"] + word_lists()["boys"]


def _articles(text: str) -> str:
    """The text with `an` before vowels."""
    return re.sub(r"\b([Aa]) (?=[aeio]|hono|ugl|unu)", r"\1n ", text)


_ESSAY_REQUESTS = (
    "Explain in simple words: {subject}.",
    "Write a short paragraph about {subject}.",
    "Write a short and simple essay about {subject}.",
    "Tell me about {subject}.",
)
_ESSAY_BEGINNINGS = (
    "",
    "",
    "",
    "Most people",
    "Many people",
    "When we think of {subject}, we",
    "Every day,",
    "There are many",
    "People have always",
    "One of the",
)


def _essay(chance: random.Random) -> Draft:
    subject = _one(chance, chance.choice(["everyday", "technical"]))
    request = chance.choice(_ESSAY_REQUESTS).format(subject=subject)
    return Draft("essay", request, chance.choice(_ESSAY_BEGINNINGS).format(subject=subject), closing="\n\nIn short,")


def _conversation(chance: random.Random) -> Draft:
    question = _question(chance)
    request = f"{question} Answer briefly."
    return Draft("conversation", request, "", question)


def _question(chance: random.Random) -> str:
    lists = word_lists()
    creature, creature2 = chance.sample(lists["creatures"], 2)
    technical = chance.random() < 0.5
    drawn = chance.choice(lists["questions"]).format(
        thing=_a(_one(chance, "nouns")),
        topic=_one(chance, "technical" if technical else "everyday"),
        task=_one(chance, "tasks"),
        creatures=_plural(creature),
        creature=creature,
        creature2=creature2,
        word=_one(chance, chance.choice(["nouns", "verbs"])),
        adjective=_one(chance, "adjectives"),
        quality=_one(chance, "qualities"),
        noun=_one(chance, "nouns"),
        name=chance.choice(_names()),
        mood=_one(chance, "moods"),
        weather=_one(chance, "weathers"),
        food=_one(chance, "foods"),
    )
    return _articles(drawn)


def _plural(noun: str) -> str:
    irregular = {
        "mouse": "mice",
        "wolf": "wolves",
        "goose": "geese",
        "fish": "fish",
        "deer": "deer",
        "snowman": "snowmen",
    }
    if noun in irregular:
        return irregular[noun]
    if noun.endswith(("x", "s", "ch")):
        return noun + "es"
    return noun[:-1] + "ies" if re.search("[^aeiou]y$", noun) else noun + "s"


def _letter_or_instructions(chance: random.Random) -> Draft:
    return _letter(chance) if chance.random() < 0.5 else _instructions(chance)


def _letter(chance: random.Random) -> Draft:
    receiver, sender = chance.sample(_names(), 2)
    request = f"Write {_one(chance, 'letters')}. It is from {sender} to {receiver}. Keep it short and simple."
    opening = chance.choice(
        ["I hope you are well.", "Thank you for", "I am writing to", "How are you?", "I wanted to", "It was"]
    )
    greeting = chance.choice(["Dear", "Dear", "Hello"])
    return Draft("letter", request, f"{greeting} {receiver},\n\n{opening}", closing=f"\n\nBest wishes,\n{sender}")


_INSTRUCTION_BEGINNINGS = (
    "To {task}, first",
    "To {task}, you need",
    "Here is how to {task}. First,",
    "It is easy to {task}. Start with",
    "How to {task}:\n\n1. First,",
    "How to {task}:\n\n1. Find",
)


def _instructions(chance: random.Random) -> Draft:
    task = _one(chance, "tasks")
    request = f"Explain in a few short and simple steps how to {task}."
    beginning = chance.choice(_INSTRUCTION_BEGINNINGS).format(task=task)
    return Draft("instructions", request, beginning, closing="\n\nIn the end,")


_MIDDLES = (
    "{name} was {mood} because",
    "Because the {noun} was {quality}, {name}",
    "{name} wanted to {verb}, but",
    "When {name} saw the {quality} {noun},",
    "After {name} found {a_noun},",
    "The {creature} was {adjective}, so",
    "If you want to {task},",
    "Before {name} could {verb},",
    "Although the {noun} was {quality},",
    "{name} asked {other} for {a_noun}.",
)


def _middle(chance: random.Random) -> Draft:
    name, other = chance.sample(_names(), 2)
    beginning = chance.choice(_MIDDLES).format(
        name=name,
        other=other,
        noun=_one(chance, "nouns"),
        a_noun=_a(_one(chance, "nouns")),
        adjective=_one(chance, "characters"),
        quality=_one(chance, "qualities"),
        verb=_one(chance, "verbs"),
        creature=_one(chance, "creatures"),
        task=_one(chance, "tasks"),
        mood=_one(chance, "moods"),
    )
    request = "Write a very short story in three sentences."
    return Draft("middle", request, beginning)


SHARES = {"story": 0.6, "essay": 0.11, "conversation": 0.14, "letter or instructions": 0.11, "middle": 0.04}
"""The shares of what is drawn; fewer stories than other texts pass the filters."""
DRAWS: dict[str, Callable[[random.Random], Draft]] = {
    "story": _story,
    "essay": _essay,
    "conversation": _conversation,
    "letter or instructions": _letter_or_instructions,
    "middle": _middle,
}
