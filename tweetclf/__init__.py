"""The disaster-tweet classifier: everything that must behave alike in training, export and serving."""

__version__ = "0.1.0"
