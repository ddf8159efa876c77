"""Keys at rest: data keys wrapped by a master key, which a file or a key vault holds."""
