class WaypointError(Exception):
    pass


class NoWaypointsError(Exception):
    pass


class DemoError(Exception):
    pass


class BoundaryError(Exception):
    pass


class InvalidActionError(Exception):
    pass
