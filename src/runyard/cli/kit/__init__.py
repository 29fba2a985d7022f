"""The tools that commands are made of: lazy groups, exit statuses, output, profiles. Knows no single command."""
