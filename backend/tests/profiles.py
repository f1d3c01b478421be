"""Profiles for the number of examples of a property: some, the same in each run, or very many.

`pytest --hypothesis-profile thorough` tries new ones in every run, ten times as many or more.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

QUICK, THOROUGH = "quick", "thorough"
NUM_EXAMPLES = 40
"""The examples of a property in the quick profile, if it does not say how many are enough. They are the same in each
run: more of them would find no more the next time."""
MOST_EXAMPLES = 100
"""The most examples of a property in the quick profile, also if it asks for more."""
TIMES_AS_MANY = 10
UNHURRIED = settings(database=None, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
"""The deadline of an example: none, since a busy machine does not make a property false."""


def register_profiles() -> None:
    """Registers both profiles, and loads the quick one, in which a failure is the same everywhere."""
    settings.register_profile(QUICK, UNHURRIED, derandomize=True, max_examples=NUM_EXAMPLES)
    settings.register_profile(THOROUGH, UNHURRIED, derandomize=False, max_examples=1000)
    settings.load_profile(QUICK)


def is_thorough() -> bool:
    """Whether long forms are asked for: whole trainings, long soaks, and all that is marked `thorough`."""
    return settings.get_current_profile_name() == THOROUGH


def examples(number: int, *harmless: HealthCheck) -> settings:
    """The settings of a property for which `number` examples, or `MOST_EXAMPLES`, are enough in the quick profile.

    Args:
        harmless: what Hypothesis warns of, and the test knows about.
    """
    return settings(
        max_examples=number * TIMES_AS_MANY if is_thorough() else min(number, MOST_EXAMPLES),
        suppress_health_check=[*UNHURRIED.suppress_health_check, *harmless],
    )
