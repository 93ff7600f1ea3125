"""Running text in a panel: Blender cuts a label at the edge, so it is broken into lines here."""

import textwrap


def draw_text(layout, context, text, icon="NONE"):
    """Draws ``text`` over as many lines as the region's width needs; the icon stands before the first."""
    scale = context.preferences.system.ui_scale
    num_columns = max(16, int((context.region.width / scale - 60) / 6.4))
    column = layout.column(align=True)
    column.scale_y = 0.8
    for number, line in enumerate(textwrap.wrap(text, num_columns)):
        if icon == "NONE":
            column.label(text=line)
        else:
            column.label(text=line, icon=icon if number == 0 else "BLANK1")
