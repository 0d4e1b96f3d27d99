"""The painters of a synthetic street: canvas and film, then one file per kind of thing."""
