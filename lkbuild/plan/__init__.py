"""From a spec to a graph of steps: pure and offline."""
