"""Signatures: keys, cosign's payloads, sigstore bundles, and who must have signed.  Bytes, nothing of the world."""
