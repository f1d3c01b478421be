"""Plain English for the embedded models: a small language model writes it, filters clean it, a packer stores it."""
