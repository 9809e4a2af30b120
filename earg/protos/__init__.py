"""The wire: ``.proto`` files, and beside them the code that the build writes from them.

``model.proto``, ``prediction.proto`` and ``management.proto`` are EARG's contract; ``hogar.proto``
is what HOGAR adds on the same ports.
"""
