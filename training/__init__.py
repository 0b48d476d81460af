"""Data preparation and fine-tuning of the classifier; nothing here travels to a server."""
