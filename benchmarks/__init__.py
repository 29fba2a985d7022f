"""Measures Runyard and its peers side by side in one run. Imports nothing of the product: it is a client like any other."""
