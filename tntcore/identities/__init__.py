"""A tenant's own DIDs: making and publishing them, and signing with their keys."""
