"""Scaled data in the files of other programs: MTZ, mmCIF, SHELX, XDS_ASCII and scalepack.

``observations`` collects what is written; each other module makes one kind of file as bytes or text.
"""
