"""Runs before every test module, and so before torch is imported: see tests/support/old_processor.py."""

from tests.support import old_processor

old_processor.hide_if_asked()
