"""What reads text and files of others, each with what it may raise; `python -m fuzz` looks for what it must not."""
