"""The audit trail: an append-only Merkle log in the database, its proofs, receipts and exports."""
