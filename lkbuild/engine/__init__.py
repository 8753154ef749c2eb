"""Carrying out a graph: doit's tasks over the store."""
