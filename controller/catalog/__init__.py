"""GPUs and models that Pennyweight knows: tables shipped as CSV, and finding a row by any of its common names. Pure."""
