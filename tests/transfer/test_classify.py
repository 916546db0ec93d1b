"""Classification: the probe learns what can be learnt, and only that; records, exit codes."""
