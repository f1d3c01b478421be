"""The models: which exist, which are loaded, where they run, and who looks after them."""
