"""What may be said: a hook for filters, and the filter that a rules file describes."""
