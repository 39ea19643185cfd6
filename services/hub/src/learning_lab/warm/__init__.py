"""The warm parent: a process that has imported JupyterLab, of which servers are forks."""
