#!/usr/bin/env bash
# torch 2.13.0, on the processor.
# Guess: `torch.distributions.Gumbel` of bfloat16 draws the same noise as of float32, rounded; so the token with the largest
#   sum of logit and noise is drawn with the probability of the logits, which is how LLaDA's sampler draws.
# Instead: it takes two logarithms of an even number that is kept at least one step of the type away from 1, which is 1/128, so
#   no noise is above 4.44 (float16: 6.93), where the largest of 151,936 should be about 12. A token that should be drawn every
#   other time, beside a vocabulary of small ones, is always drawn. Float32 draws it half of the time, and
#   `torch.nn.functional.gumbel_softmax`, whose noise is the logarithm of an exponential number, does so in bfloat16, too.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 || exit 2

"$folder/venv/bin/python" - <<'PYTHON'
import torch

torch.set_num_threads(1)
VOCAB, DRAWS = 151_936, 200
probabilities = torch.full((VOCAB,), 0.5 / (VOCAB - 1))
probabilities[-1] = 0.5


def by_distribution(logits):
    one = torch.ones((), dtype=logits.dtype)
    return logits + torch.distributions.Gumbel(0 * one, one).sample((VOCAB,))


def by_softmax(logits):
    return torch.nn.functional.gumbel_softmax(logits, hard=True)


print("version: ", "torch", torch.__version__)
print("expected: noise up to 12 or so in every type; a token of probability 0.5 in about half of the draws")
shares = {}
for dtype in (torch.float32, torch.float16, torch.bfloat16):
    torch.manual_seed(0)
    logits = probabilities.log().to(dtype)
    noise = by_distribution(torch.zeros(VOCAB, dtype=dtype))
    shares[dtype] = [
        sum(int(draw(logits).argmax()) == VOCAB - 1 for _ in range(DRAWS)) / DRAWS for draw in (by_distribution, by_softmax)
    ]
    print(f"seen:     {str(dtype):15} largest noise {float(noise.max()):5.2f}, drawn {shares[dtype][0]:.0%}, by gumbel_softmax {shares[dtype][1]:.0%}")

are_right = all(0.35 < share < 0.65 for share in [*shares[torch.float32], shares[torch.float16][1], shares[torch.bfloat16][1]])
is_always_drawn = shares[torch.bfloat16][0] == 1 and shares[torch.float16][0] > 0.9
raise SystemExit(0 if are_right and is_always_drawn else 1)
PYTHON
