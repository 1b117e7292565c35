"""The language of a recording, chosen by what an identifier says and by how well each language's transcript fits."""
