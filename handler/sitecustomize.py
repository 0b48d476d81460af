"""Let a worker start without torch: TorchServe's own modules import it, and the int8 engine never needs it.

Python runs a module of this name at its start, and TorchServe puts the unpacked archive on the worker's path. From then
on `import torch` gives a module that is loaded when something of it is first asked for. TorchServe 0.12 asks in
`isinstance(answer, torch.Tensor)`, after bytes and str, which are all that our handler returns. It spares a worker a
fifth of a gigabyte and a second (docs/adr/0007). Where this is not run, torch is loaded and all else is the same.

Source: ts/protocol/otf_message_handler.py, create_predict_response.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from threading import RLock
from types import ModuleType


class LazyModule(ModuleType):
    """A module that is not run before it is asked for an attribute that an empty one has not.

    Threads that ask at once wait for the one that runs it. A module that fails to run stays lazy: it is run again when
    something of it is asked for again, as Python does with a failed import.

    importlib's own LazyLoader is no help: in Python 3.11 the second `import` of a module looks at its `__spec__`, and
    there any look loads it.

    Args:
        spec: of the module; is found by name and has a loader.
    """

    def __init__(self, spec: ModuleSpec) -> None:
        super().__init__(spec.name)
        self.__spec__ = spec

    def __getattr__(self, name: str) -> object:
        """Run the module, then ask it; called for what is missing, as `__path__` is when a submodule is imported."""
        with _running:
            # Asked by its own code while it runs: what is missing then is missing in an ordinary module, too.
            if type(self) is LazyModule and self not in _modules_that_run:
                self._run()
        return ModuleType.__getattribute__(self, name)

    def _run(self) -> None:
        spec = self.__spec__
        assert spec is not None
        assert spec.loader is not None
        before = dict(vars(self))
        _modules_that_run.append(self)
        try:
            vars(self).update(vars(module_from_spec(spec)))
            spec.loader.exec_module(self)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            self.__class__ = LazyModule
            sys.modules[spec.name] = self
            raise
        finally:
            _modules_that_run.remove(self)
        # Last, so that no other thread sees a module that is half run as a whole one.
        if type(self) is LazyModule:
            self.__class__ = ModuleType  # type: ignore[assignment]


_running = RLock()
_modules_that_run: list[LazyModule] = []


def make_lazy(name: str) -> None:
    """Put a module into sys.modules that is loaded when needed; nothing where it is loaded, or not installed."""
    spec = None if name in sys.modules else find_spec(name)
    if spec is not None and spec.loader is not None:
        sys.modules[name] = LazyModule(spec)


def run_next() -> None:
    """Run the module of this name that Python would have run without this one, such as an environment's own."""
    here = Path(__file__).resolve().parent
    spec = PathFinder.find_spec("sitecustomize", [entry for entry in sys.path if Path(entry or ".").resolve() != here])
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(module_from_spec(spec))


make_lazy("torch")
run_next()
