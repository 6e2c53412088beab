"""Numba kernels of the event engine. Helpers sit beside their callers: Numba's cache misses edits elsewhere."""
