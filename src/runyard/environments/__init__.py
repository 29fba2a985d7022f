"""Task packages and the environments that are provisioned from them."""
