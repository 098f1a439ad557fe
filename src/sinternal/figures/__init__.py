"""Numbers from rows: no HTML, no words for people but names."""
