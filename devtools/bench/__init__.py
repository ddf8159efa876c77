"""How fast messages get from outside to a webhook, and what they cost on the way: `python -m devtools.bench`."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
