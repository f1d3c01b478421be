"""A wire face from outside: what a stranger writes to make this server speak one more language."""
