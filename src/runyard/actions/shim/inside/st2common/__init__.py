"""What actions written for StackStorm import. Owns those names only; needs nothing but the standard library."""
