"""Running text in a panel: Blender cuts a label at the edge, so it is broken into lines here."""

import textwrap


def draw_text(layout, context, text, icon="NONE", inset_px=0.0):
    """Draws ``text`` over as many lines as the region's width needs.

    Args:
        icon: stands before the first line.
        inset_px: width that something beside the text takes, at a user interface scale of 1.
    """
    scale = context.preferences.system.ui_scale
    width_px = context.region.width / scale - 62 - inset_px - (22 if icon != "NONE" else 0)
    column = layout.column(align=True)
    column.scale_y = 0.8
    for number, line in enumerate(textwrap.wrap(text, max(16, int(width_px / 6.6)), break_on_hyphens=False)):
        if icon == "NONE":
            column.label(text=line)
        else:
            column.label(text=line, icon=icon if number == 0 else "BLANK1")
