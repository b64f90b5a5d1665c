"""Signals in, messages out; and the worker that does what happens later."""
