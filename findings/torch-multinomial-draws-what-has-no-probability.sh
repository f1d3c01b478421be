#!/usr/bin/env bash
# torch 2.13.0, on the processor.
# Guess: `torch.multinomial` without replacement refuses to draw more than have a probability, as it refuses more than there are: its
#   documentation says that `num_samples` "must be lower than number of non-zero elements", and does not say what happens else.
# Instead: it goes on with those of probability 0, and says nothing. So a random order of the masks that are left,
#   drawn for a batch, names places that are none wherever a row has fewer than the others. Drawing exactly as many works.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 || exit 2

"$folder/venv/bin/python" - <<'PYTHON'
import torch

torch.set_num_threads(1)
torch.manual_seed(0)
is_mask = torch.tensor([[1, 1, 0, 1, 1], [0, 0, 1, 0, 1]])


def complaint(draw):
    try:
        draw()
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return "nothing"


draws = torch.stack([torch.multinomial(is_mask.float(), 3) for _ in range(200)])
wrong = [sorted(set(row[row_mask[row] == 0].tolist())) for row_mask, row in zip(is_mask, draws.transpose(0, 1), strict=True)]
exact = torch.stack([torch.multinomial(is_mask[1].float(), 2) for _ in range(200)])
more = complaint(lambda: torch.multinomial(is_mask.float(), 6))
print("version: ", "torch", torch.__version__)
print("expected: an error for 3 of a row of 2, or else places of masks alone:", is_mask.tolist())
print(f"seen:     places without a probability in 200 draws of 3: {wrong}, of 2: {exact[is_mask[1][exact] == 0].tolist()}; the last draw {draws[-1].tolist()}")
print("          for 6 of 5:", more)
has_strangers = wrong[0] == [] and wrong[1] != []
raise SystemExit(0 if has_strangers and bool((is_mask[1][exact] == 1).all()) and "without replacement" in more else 1)
PYTHON
