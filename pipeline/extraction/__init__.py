"""Stage one: run the frozen conv base once over every image and store its features."""
