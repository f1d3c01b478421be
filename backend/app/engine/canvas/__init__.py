"""The text that is being denoised, as token ids and masks, and what is reported of it. It imports no torch."""
