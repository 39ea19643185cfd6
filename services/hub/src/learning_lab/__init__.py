"""JupyterHub with a menu of the notebook directories that are yours."""
