"""Read an Open Inference v2 request: one BYTES tensor, whose elements are the tweets.

Source: Open Inference Protocol, REST, inference request JSON object; MLServer, content types.
"""

from __future__ import annotations

import base64
import math
from typing import Any

from tweetclf.content import decode, field_name, quoted
from tweetclf.errors import InvalidRequestError
from tweetclf.form import OTHER_FIELDS
from tweetclf.item import MAX_ID_CHARS, Item, read_item
from tweetclf.json_text import name_of

OUTPUT_NAMES = ("label", "score", "decision", "error")
MAX_DIMENSIONS = 8
# Parameters that say how the elements were written.
_ENCODING_PARAMETERS = ("content_type", "content_encoding", "encoding", "charset", "compression")
_PLAIN_VALUES = (None, "", "str", "text", "text/plain", "utf-8", "utf8", "identity", "none")


def read_tensor(request: dict[str, Any]) -> tuple[list[Any], bool]:
    """Return the elements of the one input tensor, in row order, and whether they are base64.

    Raises:
        InvalidRequestError: WRONG_TYPE, there are several tensors, or one that is not of tweets;
            UNSUPPORTED_ENCODING, a parameter says that the elements are written in another way.
    """
    inputs = request["inputs"]
    if not isinstance(inputs, list) or not all(isinstance(tensor, dict) for tensor in inputs):
        raise InvalidRequestError(
            "WRONG_TYPE",
            f"'inputs' is {name_of(inputs)}; expected a list with one tensor of datatype BYTES; one tweet goes as "
            '{"text": "..."}',
        )
    if len(inputs) != 1:
        raise InvalidRequestError(
            "WRONG_TYPE", f"'inputs' has {len(inputs)} tensors; expected one, whose elements are the tweets"
        )
    tensor = inputs[0]
    data = tensor.get("data")
    if tensor.get("datatype") != "BYTES" or not isinstance(data, list):
        raise InvalidRequestError(
            "WRONG_TYPE",
            "the input tensor has another datatype than BYTES, or its 'data' is no list; expected "
            '{"name": "text", "datatype": "BYTES", "shape": [n], "data": [...]}',
        )
    if tensor.get("name") in OTHER_FIELDS:
        raise InvalidRequestError("WRONG_TYPE", f"the input tensor is '{tensor['name']}'; expected one named 'text'")
    is_base64 = _is_base64([tensor.get("parameters"), request.get("parameters")])
    elements = _flat(data)
    _check_shape(tensor.get("shape"), len(elements))
    return elements, is_base64


def read_element(element: Any, is_base64: bool) -> Item:
    """Read one element of the tensor.

    Raises:
        InvalidRequestError: BAD_ENCODING, it is said to be base64 and is not; see also `read_item`.
    """
    if is_base64 and isinstance(element, str):
        try:
            plain = base64.b64decode(element, validate=True)
        except ValueError:
            raise InvalidRequestError(
                "BAD_ENCODING", "the element is not base64, which the parameter content_type says; send it again"
            ) from None
        return read_item(decode(plain))
    return read_item(element)


def read_request_id(request: dict[str, Any]) -> str | None:
    """Return the caller's id of the request, which comes back with the answer."""
    request_id = request.get("id")
    if request_id is not None and (not isinstance(request_id, str) or len(request_id) > MAX_ID_CHARS):
        raise InvalidRequestError(
            "WRONG_TYPE", f"the request's 'id' is {name_of(request_id)}; expected a string of at most {MAX_ID_CHARS}"
        )
    return request_id


def read_outputs(request: dict[str, Any]) -> tuple[str, ...]:
    """Return the names of the output tensors that the caller asks for; none asked for are all but `error`."""
    outputs = request.get("outputs")
    if outputs is None or outputs == []:
        return ()
    if not isinstance(outputs, list) or not all(isinstance(output, dict) for output in outputs):
        raise InvalidRequestError(
            "WRONG_TYPE", f'\'outputs\' is {name_of(outputs)}; expected a list such as [{{"name": "score"}}]'
        )
    names = []
    for output in outputs[: len(OUTPUT_NAMES) + 1]:
        name = output.get("name")
        if name not in OUTPUT_NAMES or name in names:
            found = (
                f"output {field_name(name)}" if isinstance(name, str) else f"an output whose name is {name_of(name)}"
            )
            raise InvalidRequestError(
                "WRONG_TYPE", f"the request asks for the {found}; expected each at most once of {list(OUTPUT_NAMES)}"
            )
        names.append(name)
    return tuple(names)


def _is_base64(all_parameters: list[Any]) -> bool:
    """Tell whether the elements are base64; the tensor's parameters stand in front of the request's."""
    content_types = []
    for parameters in all_parameters:
        if parameters is None:
            continue
        if not isinstance(parameters, dict):
            raise InvalidRequestError("WRONG_TYPE", f"'parameters' is {name_of(parameters)}; expected an object")
        if "binary_data_size" in parameters:
            raise InvalidRequestError(
                "UNSUPPORTED_ENCODING",
                "the input tensor is binary ('binary_data_size'); expected its elements as JSON strings in 'data' "
                "(tritonclient: binary_data=False)",
            )
        for name in _ENCODING_PARAMETERS:
            value = parameters.get(name)
            plain = value.lower() if isinstance(value, str) else value
            if plain == "base64":
                content_types.append("base64")
            elif plain is not None and plain not in _PLAIN_VALUES:
                found = quoted(value) if isinstance(value, str) else name_of(value)
                raise InvalidRequestError(
                    "UNSUPPORTED_ENCODING", f"the parameter '{name}' is {found}; expected 'str' or 'base64'"
                )
            elif plain is not None:
                content_types.append("str")
        if content_types:
            break
    return "base64" in content_types


def _flat(data: list[Any]) -> list[Any]:
    """Return the elements of nested rows: a tensor of shape [n, 1] comes as rows, too."""
    for _ in range(MAX_DIMENSIONS):
        if not data or not all(isinstance(row, list) for row in data):
            break
        data = [element for row in data for element in row]
    return data


def _check_shape(shape: Any, count: int) -> None:
    if shape is None:
        return
    if (
        not isinstance(shape, list)
        or len(shape) > MAX_DIMENSIONS
        or not all(isinstance(size, int) and not isinstance(size, bool) and -1 <= size <= 10**9 for size in shape)
        or shape.count(-1) > 1
    ):
        raise InvalidRequestError(
            "WRONG_TYPE", f"'shape' is {name_of(shape)} of other values; expected a list of sizes such as [{count}]"
        )
    if -1 in shape:  # as many as there are
        rest = math.prod(size for size in shape if size != -1)
        fits = count % rest == 0 if rest else count == 0
    else:
        fits = math.prod(shape) == count
    if not fits:
        raise InvalidRequestError(
            "WRONG_TYPE", f"'shape' is {shape}, while 'data' has {count} elements; expected them to agree"
        )
