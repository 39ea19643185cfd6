"""What runs inside a user's server: Jupyter Server extensions, and its configuration."""
