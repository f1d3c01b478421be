"""The endpoints under `/api/diffusion`. The requests themselves are the service's own models."""
