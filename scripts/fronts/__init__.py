"""Fronts to measure, try and overload: started in processes of their own, before the real worker or one that sleeps."""
