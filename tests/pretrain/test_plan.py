"""The plan: counts against a network that is built, memory against a measured step."""
