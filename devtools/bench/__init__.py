"""How fast messages get from outside to a webhook, and what they cost on the way: `python -m devtools.bench`."""
