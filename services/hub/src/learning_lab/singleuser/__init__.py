"""What runs inside a person's server: extensions of Jupyter Server, and its configuration."""
