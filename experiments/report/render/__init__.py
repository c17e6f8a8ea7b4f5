"""From a document to HTML and Markdown."""
