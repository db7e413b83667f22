"""What changed in the tables, revision by revision."""
