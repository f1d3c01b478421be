"""One command a file, under the name `command`. They are imported when they are called, and import what is heavy when
they run."""
