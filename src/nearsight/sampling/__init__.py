"""Statistical mechanics of classical models: samplers, and the exact results that referee them."""

__all__: list[str] = []
