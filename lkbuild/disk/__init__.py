"""Formats of boot media, bytes only."""
