"""Finds settings for a machine by measuring, and shows where a server's time goes."""
