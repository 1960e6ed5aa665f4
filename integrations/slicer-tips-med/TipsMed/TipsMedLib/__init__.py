"""What the module does, without Qt."""
