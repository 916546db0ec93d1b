"""Views: images a second on one core, fast engine against reference engine, pairs interleaved."""
