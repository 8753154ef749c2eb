"""Running a machine under QEMU."""
