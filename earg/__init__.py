"""EARG: a runtime for directed graphs of ML services, with a proxy beside every model.

Importing this package imports nothing else: the command line, the compiler and the processes
each import the one module they need.
"""
