"""Reading files from strangers without executing code from them."""
