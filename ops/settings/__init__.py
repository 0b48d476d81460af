"""Reads and writes the settings of the server and of this machine; imports no other package of `ops`."""
