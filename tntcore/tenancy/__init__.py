"""One tenant: its records, recipients, webhooks, preferences and usage; and the callers and their rights."""
