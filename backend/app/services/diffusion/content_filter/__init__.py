"""The content filter: a hook for filters, and the filter that a rules file describes."""
