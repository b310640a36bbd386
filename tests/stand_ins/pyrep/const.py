from enum import Enum


class RenderMode(Enum):
    OPENGL = 0
    OPENGL3 = 7


class ObjectType(Enum):
    ALL = 0
    SHAPE = 1


class ConfigurationPathAlgorithms(Enum):
    SBL = "SBL"
    RRTConnect = "RRTConnect"
