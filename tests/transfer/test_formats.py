"""Tests of transfer/formats.py."""
