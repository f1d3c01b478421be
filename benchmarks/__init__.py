"""Measurements that take minutes: run by a person, never by CI. Each prints a table and writes JSON."""
