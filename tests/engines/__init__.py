"""The engines other than the local one."""
