"""Typed decisions in the words of other servers: `/v1/systemone` and `/v1/decisions`."""
