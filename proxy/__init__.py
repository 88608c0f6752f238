"""The data plane and the process. Import nothing here: `proxy.__main__` must pin its siblings first."""
