"""What relying parties fetch: CRLs, OCSP answers, issuers' certificates. No authentication, and plain HTTP too."""
