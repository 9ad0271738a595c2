"""Bodies: bytes -> values by name, and files, whatever the format.

The framework's own form reading is not used: it spools uploads of a megabyte and more to disk, and answers a few
malformed ones with 500. Here every byte stays in bytearrays that `wipe` can empty, and every bound is checked before
the bytes behind it are kept.
"""
