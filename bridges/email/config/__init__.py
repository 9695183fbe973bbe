"""The settings of an email network, one section a module."""
