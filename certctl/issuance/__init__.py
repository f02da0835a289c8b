"""Signs: what is in a certificate, and who puts a name under it. No Twisted, no SQL, no clock."""
