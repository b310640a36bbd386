"""Configuration: base class of keys, keys of the experiment, and the reader of yaml and opts."""
