"""The pages: what people see and press, and the probes of machines."""
