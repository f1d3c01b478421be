"""One forward pass over several requests: from the work of each to its predictions."""
