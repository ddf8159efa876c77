"""Issue Credential and Present Proof: what `protocols` decides, with formats asked, keys used and records kept."""
