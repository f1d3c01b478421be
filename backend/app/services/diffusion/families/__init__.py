"""Each family's side of text: how a prompt is framed, how long an answer may be, what the presets mean."""
