"""What is served: locks, bill of materials, known vulnerabilities."""
