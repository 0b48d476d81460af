"""Makes the virtual environment; runs on the machine's own Python with the standard library alone."""
