"""Task sets: named lists of references to tasks. Owns the lists; what a reference means is asked of the packages."""
