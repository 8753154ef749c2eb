"""What is in an image, as values; documents that say so (SPDX, CycloneDX), and where a build came from.  All pure."""
