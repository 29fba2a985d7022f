"""The name under which old packs look for the base of actions."""
