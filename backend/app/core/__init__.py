"""Settings, request parameters and logging: what every outer layer needs. The engine does not."""
