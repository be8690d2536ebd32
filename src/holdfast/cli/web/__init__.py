"""`holdfast web`: what `holdfast top` shows, as a page. It needs the extra `web`."""
