"""Settings, request parameters, logging and outgoing connections: what every outer layer needs. The engine does not."""
