"""Pages: the gallery of all specs, an explanation, and the playground, all of them without a network.

`html` has the pieces that pages are made of, `chart` their plots, `parts` a derivation as a page; `gallery`
writes a site, `answers` says what can be told of a text as it is typed, and `serve` the playground around it.
"""
