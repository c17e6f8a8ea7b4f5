"""Files, tables, archives, errors and progress."""
