"""The inner loop: build on save, and put what changed into the machine that runs."""
