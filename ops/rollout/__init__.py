"""Changes the served model without a lost request, and takes the change back."""
