"""The command `napari-bcp`: the verbs of napari_bcp.api, no window.

main.py       the commands in the order of the work, one function each
keeping.py    those of them that keep a pool: cases, verdicts, classes
arguments.py  arguments and options that several have, and how commands count
console.py    what a command shows: bars, plain lines or JSON lines
tables.py     results as rows of text
leaving.py    how a command ends: Ctrl-C, errors, exit codes
doctor.py     what this computer offers
demo.py       the whole way on scans that the package makes itself
sheet.py      the contact sheet
window.py     opening the window, as a process of its own
"""
