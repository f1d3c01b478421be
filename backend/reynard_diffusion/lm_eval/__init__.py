"""A running server as a model of EleutherAI's lm-evaluation-harness: `python -m reynard_diffusion.lm_eval run …`.

Only `model` and the program itself need the package `lm_eval`, which the extra `lm-eval` brings.
"""
