"""The conformance corpus: specs, images, what the reference builds from them, and what it refuses."""
