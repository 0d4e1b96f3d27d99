"""Parts of pages for the browser that ask nobody for anything: markup, style, tables, images."""
