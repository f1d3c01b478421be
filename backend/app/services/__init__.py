"""The service layer: which model answers whom, when, and what is counted. HTTP is not known here."""
