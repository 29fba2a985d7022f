"""Front doors: one package a published API. Decode, call a domain verb, encode; no state."""
