"""The tests; see CONTRIBUTING for which folder holds what."""
