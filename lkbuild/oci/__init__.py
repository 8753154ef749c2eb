"""OCI values: what an image says (image-spec), and what runs in a container (runtime-spec)."""
