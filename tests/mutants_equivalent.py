"""Mutants that compute the same as the original: (file, line of source, change) -> why no test can tell them apart."""

EQUIVALENT: dict[tuple[str, str, str], str] = {}
