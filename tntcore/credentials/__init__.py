"""Credential and proof formats: one file each behind the interfaces of `formats`; `registry` chooses."""
