"""One training: settings, Lightning module, teachers, curves."""
