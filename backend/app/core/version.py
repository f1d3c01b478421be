"""The version, known without importing the application."""

VERSION = "0.1.0"
