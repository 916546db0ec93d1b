"""Diagnostics: closed forms, invariances, and independent formulas."""
