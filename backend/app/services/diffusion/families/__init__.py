"""What text is to each family: how a prompt is framed, how long an answer may be, what the presets mean."""
