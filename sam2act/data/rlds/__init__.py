"""Data sets in RLDS's form, as tensorflow_datasets writes and reads them."""
