"""Every error that leaves over HTTP: its status, its code and its body."""
