"""The playground in a real browser, against a real server with the embedded models.

It stays small: what can be said of one function is said by the tests of the server; here is what a reader sees.
"""
