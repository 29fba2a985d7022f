"""What follows the end of a run: notifications and callbacks."""
