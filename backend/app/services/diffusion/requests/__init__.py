"""One request's way through the service, from parameters to the end of its stream."""
