"""Archives as bytes: tar, cpio and their compressions, merging image layers, laying segments over each other."""
