"""Scaled data in the files of other programs: MTZ, mmCIF, SHELX, XDS_ASCII and scalepack.

``export`` defines the record of an export, ``registry`` lists all kinds, ``write`` writes those that the options
name. ``scaled_observations`` collects the data; each other module makes one kind of file as bytes or text.
"""
