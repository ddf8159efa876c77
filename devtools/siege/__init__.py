"""What an honest tenant notices of attacks on others, and on itself: `python -m devtools.siege`."""
