"""Issue Credential and Present Proof: runs the decisions of `protocols` with formats, keys and records."""
