"""Log-ins through PAM, and their limits."""
