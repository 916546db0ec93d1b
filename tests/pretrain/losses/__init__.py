"""Tests of pretrain/losses."""
