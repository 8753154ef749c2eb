"""What builds were like and what is in their images, for people to look at: a page, and a trace for other viewers."""
