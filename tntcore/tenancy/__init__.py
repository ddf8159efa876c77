"""One tenant: its records, its recipients, its webhooks, its preferences and what it used."""
