"""Devices, their memory, and the allocator of the host."""
