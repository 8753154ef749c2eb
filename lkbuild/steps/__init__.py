"""What each kind of step does: one file a kind, found by the kind's name."""
