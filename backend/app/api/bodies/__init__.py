"""Request bodies: their size, their deadline, their fields."""
