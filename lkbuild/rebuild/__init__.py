"""Building a finished image again from the record it carries, and comparing."""
