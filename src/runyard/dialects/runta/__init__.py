"""The Runta door, v1 and v2."""
