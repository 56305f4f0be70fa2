"""Where tasks come from and what success means."""
