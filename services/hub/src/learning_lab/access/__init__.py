"""What a person may open: one decision, in one place, and the record of it."""
