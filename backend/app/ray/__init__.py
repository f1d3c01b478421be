"""The application on a Ray cluster: each model a deployment of its own, behind one ingress that speaks HTTP.

What a request is and how it is counted stays the service's business; here is only how it gets to another process.
"""
