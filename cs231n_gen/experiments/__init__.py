"""Trials that notebooks and benches share: many networks trained and compared at once."""
