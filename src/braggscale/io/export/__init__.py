"""Scaled data in the files of other programs: MTZ, mmCIF, SHELX, XDS_ASCII and scalepack.

``export`` says what an export is, ``registry`` lists the kinds, ``write`` writes those that were asked for.
``scaled_observations`` collects what is written; each other module makes one kind of file as bytes or text.
"""
