"""The harness's own command line, which knows the model `reynard` too.

The harness finds models by a fixed table, so whoever adds one has to import it before the command line looks.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec


def main() -> None:
    """Runs the harness with the arguments of this program."""
    if find_spec("lm_eval") is None:
        sys.exit("lm_eval is not installed; pip install 'reynard-diffusion-client[lm-eval]'")
    from lm_eval.__main__ import cli_evaluate

    import reynard_diffusion.lm_eval.model  # noqa: F401

    cli_evaluate()


if __name__ == "__main__":
    main()
