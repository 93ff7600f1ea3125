"""From the clip to a texture: unwrap, complete; later de-light and blend."""
