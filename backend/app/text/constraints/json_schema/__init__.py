"""JSON schemas (Draft 2020-12) as languages of compact JSON."""
