"""Video Avatar: a phone video becomes an animated head made of ordinary Blender data."""


def register() -> None:
    # imported here, so that the parts without bpy (client, backend_link) load in any Python
    from . import operators, panels, prefs, props, session

    for part in (prefs, props, operators, panels, session):
        part.register()


def unregister() -> None:
    from . import operators, panels, prefs, props, session

    for part in (session, panels, operators, props, prefs):
        part.unregister()
