"""What the RFCs say, as values and pure functions: no Twisted, no SQL, no HTTP, no clock."""
