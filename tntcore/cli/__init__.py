"""The command line for operators and tenants: a client of the HTTP API, and of nothing else of the service.

It imports nothing of the service, and is not deployed. Exit codes: 0 done, 1 the service answered with a problem or
something failed, 2 the command was wrong, 3 the service could not be reached (or something else answered), 4 the wait
timed out, 130 ended by Ctrl-C.
"""
