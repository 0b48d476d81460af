"""Finds what is wrong with settings, archive, gateway and machine before a start."""
