"""The version of the client, known without importing it."""

VERSION = "0.1.0"
