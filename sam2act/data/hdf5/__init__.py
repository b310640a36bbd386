"""Demonstrations in HDF5 files of robomimic's layout: LIBERO's and robomimic's."""
