"""The denoising engine: token ids in, token ids out. Knows nothing of text, HTTP or settings."""

from __future__ import annotations

import os

from app.engine.device.allocator import limit_arenas

# What threads do while they wait for each other. Spinning for long costs up to four times the step time on a machine
# that does other work too; sleeping at once costs up to three times on one that does not, for a step is many short
# products. So they spin for some tens of microseconds and then sleep. OpenMP reads this when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

# Before there are threads: each takes an arena when it first allocates.
limit_arenas()
