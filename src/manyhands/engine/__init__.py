"""The process pool: how workers start, are fed, die and are replaced. ``pool`` has the drawing of its data flow."""
