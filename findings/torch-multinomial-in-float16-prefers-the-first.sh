#!/usr/bin/env bash
# torch 2.13.0, on the processor.
# Guess: the rows of weights that `torch.multinomial` takes "do not need to sum to one", says its documentation, so a token
#   is drawn from 151,936 weights of 1 in float16 as from their softmax.
# Instead: one draw divides each weight by an exponential number and takes the largest quotient. In float16 quotients above 65,504 are
#   infinite, and of several infinite ones the first is taken: half of the draws are among the first quarter of the tokens. Divided by
#   their sum, or in bfloat16 or float32, the same weights are drawn evenly, as they are with replacement where two or more are asked for.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 || exit 2

"$folder/venv/bin/python" - <<'PYTHON'
import torch

torch.set_num_threads(1)
VOCAB, DRAWS = 151_936, 400


def median_place(weights):
    """The place in the vocabulary, from 0 to 1, below which half of the draws lie."""
    torch.manual_seed(0)
    drawn = torch.cat([torch.multinomial(weights, 1) for _ in range(DRAWS)])
    return float(drawn.double().median() / VOCAB)


ones = torch.ones(VOCAB)
seen = {
    "ones in float16": median_place(ones.half()),
    "their softmax in float16": median_place(ones.softmax(-1).half()),
    "ones in bfloat16": median_place(ones.bfloat16()),
    "ones in float32": median_place(ones),
}
torch.manual_seed(0)
seen["ones in float16, many at once"] = float(torch.multinomial(ones.half(), DRAWS, replacement=True).double().median() / VOCAB)
print("version: ", "torch", torch.__version__)
print("expected: half of the draws below the middle of the vocabulary, 0.50")
for name, place in seen.items():
    print(f"seen:     {name:30} {place:.2f}")
others_are_even = all(0.42 < place < 0.58 for name, place in seen.items() if name != "ones in float16")
raise SystemExit(0 if others_are_even and seen["ones in float16"] < 0.35 else 1)
PYTHON
