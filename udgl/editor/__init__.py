"""What editors ask of UDGL text: where words are, what may stand there, what they mean.

All but :mod:`udgl.editor.server` is plain Python. It works on any text, also while the text is no
graph: that is what a text is for most of the time that somebody types.
"""
