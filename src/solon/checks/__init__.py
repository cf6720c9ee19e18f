"""Rules for texts that models write: when one is repaired, refused or kept."""
