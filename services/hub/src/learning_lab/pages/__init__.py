"""What people see of the hub: handlers, templates, scripts and styles."""
