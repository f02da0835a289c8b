"""HTTP: requests become calls of use cases, and what those return or raise becomes answers."""
