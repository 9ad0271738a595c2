"""The HTTP surface: one file per noun, handlers of a few lines, answers as msgspec structs."""
