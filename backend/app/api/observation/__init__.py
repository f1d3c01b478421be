"""Everything that watches the application: log lines, traces, and the metrics that Prometheus reads at `/metrics`."""
