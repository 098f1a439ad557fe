"""Who writes text: every engine turns requests into completions."""
