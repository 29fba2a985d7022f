"""Who may do what with packs, actions and their executions: roles, grants and who holds them."""
