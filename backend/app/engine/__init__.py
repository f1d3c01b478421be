"""The denoising engine: token ids in, token ids out. Knows nothing of text, HTTP or settings."""

from __future__ import annotations

import os

# Spinning barriers cost up to four times the step time on a machine that does other work too. The OpenMP run time
# reads this once, when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
