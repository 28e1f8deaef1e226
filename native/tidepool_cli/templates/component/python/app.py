"""A component: it exports the functions of the world in `wit/`, which is where their types are."""

import wit_world


class WitWorld(wit_world.WitWorld):
    def hello(self, name):
        return f"Hello, {name}!"
