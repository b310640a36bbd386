"""Both ways between this project's environments and those of gymnasium.

Importing this package registers every task of the embedded simulator, where gymnasium is installed;
so `gymnasium.make("sam2act.envs.gymnasium:sam2act/PutBlockBack-v0")` needs no import. `env.py` is
what it makes, `wrappers.py` reduces its observations. `backend.py` evaluates environments of
gymnasium.
"""

from importlib.util import find_spec

from sam2act.envs.gymnasium.registration import register_tasks

if find_spec("gymnasium") is not None:
    register_tasks()
