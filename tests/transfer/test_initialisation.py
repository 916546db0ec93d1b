"""Tests of transfer/initialisation.py."""
