"""How templates show what dvsync knows."""
