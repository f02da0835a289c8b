"""Goes out to the network to see who controls a name. Never writes, never answers HTTP, never blocks."""
