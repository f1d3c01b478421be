"""The face of the engine to its callers: parameters in, events and errors out. It imports no torch."""
