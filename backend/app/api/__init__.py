"""HTTP: what a request looks like, who may make it, and how answers, streams and errors are written.

What a model is and what is counted is decided in `app.services`; nothing below this package knows a status code.
"""
