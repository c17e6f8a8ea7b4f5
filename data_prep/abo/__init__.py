"""Amazon Berkeley Objects: from archives of listings to a curated, balanced, split manifest."""
