"""Tests of transfer/reading.py."""
