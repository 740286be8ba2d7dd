"""The border between JSON or forms and the domain; used only by views."""
