"""What Prometheus reads at `/metrics`. Counters and histograms are kept here and fed by requests as they end; gauges
and the engines' own counters are read off the service at each scrape."""
