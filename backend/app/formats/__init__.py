"""File formats that more than one room reads. They know bytes, and neither tensors nor tokenizers."""
