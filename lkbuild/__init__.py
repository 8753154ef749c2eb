"""lkbuild builds bootable machine images from LinuxKit YAML specs, step by content-hashed step."""

__version__ = "0.1.0"
