"""The command-line client: uploads files through the public API of a service, and knows no other part of this one."""
