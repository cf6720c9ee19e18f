"""The stages of the method, one module each, in the order of the paper: rows in, rows out."""
