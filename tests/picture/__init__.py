"""Pictures made of characters, for a terminal, a man page and as SVG.

``canvas``    a sheet of cells: text, lines, boxes, arrows; what a terminal shows of it
``svg``       the same sheet as SVG
``progress``  what is under way, in a line
``lines``     when what was said, as the programs' messages have it: the way of an order
``looks``     what processes are, have and hold, from /proc
``drawn``     the demonstration's picture
``overview``  the processes and what they say to each other: README's picture, and the man page's
"""
