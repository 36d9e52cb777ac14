"""Records -> tables, pages, pictures and logs that people read."""
