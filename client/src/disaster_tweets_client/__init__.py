"""Ask a disaster-tweets server whether tweets tell of a disaster, over REST or gRPC.

Example:
    >>> from disaster_tweets_client import RestClient
    >>> with RestClient() as client:  # doctest: +SKIP
    ...     client.predict("Wildfire jumps the highway, families being evacuated").label
    'disaster'
"""

from typing import TYPE_CHECKING, Any

from disaster_tweets_client.errors import (
    DeadlineExceededError,
    DisasterTweetsError,
    InvalidArgumentError,
    ItemError,
    RequestError,
    ServerUnavailableError,
    UnexpectedAnswerError,
)
from disaster_tweets_client.prediction import Prediction, Tweet
from disaster_tweets_client.rest_client import RestClient

if TYPE_CHECKING:
    from disaster_tweets_client.grpc_client import GrpcClient

__version__ = "0.1.0"

__all__ = [
    "DeadlineExceededError",
    "DisasterTweetsError",
    "GrpcClient",
    "InvalidArgumentError",
    "ItemError",
    "Prediction",
    "RequestError",
    "RestClient",
    "ServerUnavailableError",
    "Tweet",
    "UnexpectedAnswerError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Import gRPC only for those who use it: it takes longer than all the rest."""
    if name == "GrpcClient":
        from disaster_tweets_client.grpc_client import GrpcClient

        return GrpcClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
