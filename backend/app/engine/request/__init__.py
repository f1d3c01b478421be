"""One request inside the engine: its life, its rounds over the context window, what it costs, whether it is valid."""
