"""The Adroit hand of gymnasium-robotics, from pixels."""
