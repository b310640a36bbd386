"""Network modules: tensors in, tensors out."""
