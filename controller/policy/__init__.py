"""Policy files: their shape, their conditions, their tests. Reads YAML and CEL; decides nothing itself."""
