"""Packs on disk. Owns reading a folder of strangers' files safely and the packs that come with the product."""
