"""Settings and logging: what every outer layer needs before it can begin. The engine needs neither."""
