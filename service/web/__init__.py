"""HTTP tools for views: knows aiohttp, knows no product."""
