"""The command line for operators and tenants: a client of the HTTP API, and of nothing else of the service.

It imports nothing of the service, and is no part of what is deployed. Exit codes: 0 done, 1 the service answered with a
problem, 2 the command was wrong, 3 the service could not be reached (or something else answered), 4 what was waited for
did not come, 130 ended by Ctrl-C.
"""
