"""Which models exist, which of them are loaded, and who looks after them."""
