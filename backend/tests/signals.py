"""Signals in programs that tests start: heeded, however these tests were started themselves."""

from __future__ import annotations

import signal

SENT_BY_TESTS = (signal.SIGINT, signal.SIGTERM)


def heed_in_children() -> None:
    """Lets programs that this process starts from now on heed the signals that tests send to them.

    A script that says `make test &` starts us with SIGINT ignored, which children inherit. They do not inherit what is
    caught: so here a signal that is to be ignored is caught, by a function that does nothing.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SENT_BY_TESTS)
    for each in SENT_BY_TESTS:
        if signal.getsignal(each) is signal.SIG_IGN:
            signal.signal(each, lambda *_: None)
