"""What every test may rely on."""

import signal

# Shells start background jobs with SIGINT ignored, and children inherit that: tests of Ctrl-C would then test nothing.
signal.signal(signal.SIGINT, signal.default_int_handler)
