"""What callers of the engine see: parameters in, events and errors out. It imports no torch."""
