"""The loop between a policy and a sandbox."""
