"Which cognitive abilities does an LLM benchmark score rest on?"

__version__ = "0.1.0"

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

_ROOMS = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))

def __getattr__(name: str):
    "A module, when it is first asked for."
    if name in _ROOMS: return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")

class _Room(ModuleType):
    "A module: `dir()` shows what it offers, not what it imports."
    def __dir__(self): return sorted(self.__all__)

class _House(ModuleType):
    "The package. Python puts each module here once it is loaded."
    def __dir__(self): return ["__version__", *_ROOMS]

    def __setattr__(self, name, value):
        if isinstance(value, ModuleType) and hasattr(value, "__all__"): value.__class__ = _Room
        super().__setattr__(name, value)

sys.modules[__name__].__class__ = _House
