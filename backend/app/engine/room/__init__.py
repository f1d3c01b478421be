"""The memory that a checkpoint will take, and whether there is so much, before anything of it is loaded."""
