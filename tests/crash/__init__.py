"""Proof that a crash takes nothing that was acknowledged: clients that remember, a runner that kills, a check."""
