"""Long mixed traffic, and the page of what was tried."""
