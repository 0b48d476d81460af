"""Engines without a server: how near each comes to what a core can do."""
