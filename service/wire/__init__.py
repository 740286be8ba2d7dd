"""Upload dialects: headers in, headers out; pure functions of mappings."""
