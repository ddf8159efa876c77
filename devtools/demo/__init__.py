"""The service on this machine, with two tenants that know each other: `make run`, or `python -m devtools.demo`."""
