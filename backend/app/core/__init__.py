"""Settings, logging and outgoing connections, which every outer layer needs before it starts; the engine does not."""
