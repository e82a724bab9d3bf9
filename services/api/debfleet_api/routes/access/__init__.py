"""Users, groups, roles, their grants, and content guards."""
