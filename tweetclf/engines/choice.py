"""Choose the engine: by name, or the fastest that is right for this machine."""

from __future__ import annotations

from importlib.util import find_spec

from tweetclf.bundle import Bundle
from tweetclf.engines import ENGINE_NAMES, Engine
from tweetclf.engines.openvino import OpenVinoEngine
from tweetclf.engines.processor import INT8_INSTRUCTIONS, fast_in_int8, length_step
from tweetclf.errors import BundleError

AUTO = "auto"
_NO_INT8 = f"this CPU has none of {', '.join(INT8_INSTRUCTIONS)}"


def int8_serves_here(setting: str = AUTO) -> bool:
    """Tell whether a worker on this machine's CPU takes the int8 network of a bundle that has one.

    Args:
        setting: `engine` of model-config.yaml.
    """
    return setting == "openvino" or (setting == AUTO and fast_in_int8())


def open_engine(
    setting: str,
    bundle: Bundle,
    device: str,
    threads: int,
    precision: str = AUTO,
    cuda_graphs: bool = False,
) -> tuple[Engine, str]:
    """Open the engine that answers.

    Args:
        setting: one of ENGINE_NAMES.
        bundle: holds the files; int8 ones are optional.
        device: `cpu`, or `cuda:N` as TorchServe assigns it.
        threads: CPU threads of the worker.
        precision: one of PRECISION_NAMES; of torchscript only.
        cuda_graphs: of torchscript on a GPU: run recorded graphs.

    Returns:
        The engine, and why it was taken, for describe and the log.

    Raises:
        BundleError: the engine asked for cannot run here, or the one taken cannot be loaded.
    """
    if setting not in ENGINE_NAMES:
        raise BundleError(f"engine is {setting!r}; expected one of {ENGINE_NAMES}")
    if setting == AUTO and precision != AUTO:
        setting, because = "torchscript", f"precision: {precision} is set, which openvino does not have"
    else:
        because = "set in model-config.yaml"
    if setting == AUTO:
        refusal = _refusal(bundle, device)
        if not refusal and not fast_in_int8():
            refusal = f"{_NO_INT8}; float32 is faster on it"
        int8, why = not refusal, refusal or "this CPU computes int8 faster than float32"
    else:
        int8, why = setting == "openvino", because
        if int8 and (refusal := _refusal(bundle, device)):
            raise BundleError(f"engine: openvino cannot serve this: {refusal}; set engine: auto or torchscript")
    if not int8:
        # Imported here: torch takes a fifth of a gigabyte, which a worker with the int8 engine does without.
        from tweetclf.engines.torchscript import TorchScriptEngine

        return TorchScriptEngine(bundle.model_path, device, precision, threads, cuda_graphs), why
    assert bundle.int8_path is not None
    return OpenVinoEngine(bundle.int8_path, threads=threads, length_step=length_step()), why


def _refusal(bundle: Bundle, device: str) -> str:
    """Say what keeps the int8 engine from running here, or ""."""
    if device != "cpu":
        return f"the worker was given {device}, and int8 is for the CPU"
    if bundle.int8_path is None:
        return "the bundle has no int8 model"
    if find_spec("openvino") is None:
        return "the package openvino is not installed"
    if bundle.int8_weight_bits == 8 and not fast_in_int8():
        return f"{_NO_INT8}, and the 8-bit weights overflow without; export on this machine for 7-bit ones"
    return ""
