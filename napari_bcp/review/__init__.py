"""What helps a reader: which case next and why, clean-up, islands, interpolation, slices worth a look, the report.

Arrays in, arrays out; every operation returns a new array and works inside the box of the class at hand. Arrays may
have their axes in any order; spacing is in mm in the array's order.
"""
