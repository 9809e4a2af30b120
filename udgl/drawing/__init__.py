"""Drawings of graphs: in the terminal, as SVG, as DOT and as Mermaid.

Each form is a module with a function that takes a graph which has passed the checks, and gives back
text: the same text each time.
"""
