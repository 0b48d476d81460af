"""Ask a disaster-tweets server whether tweets tell of a disaster, over REST or gRPC.

Example:
    >>> from disaster_tweets_client import RestClient
    >>> with RestClient() as client:  # doctest: +SKIP
    ...     client.predict("Wildfire jumps the highway, families being evacuated").label
    'disaster'
"""

from disaster_tweets_client.errors import (
    DeadlineExceededError,
    DisasterTweetsError,
    ItemError,
    RequestError,
    ServerUnavailableError,
    UnexpectedAnswerError,
)
from disaster_tweets_client.grpc_client import GrpcClient
from disaster_tweets_client.prediction import Prediction, Tweet
from disaster_tweets_client.rest_client import RestClient

__version__ = "0.1.0"

__all__ = [
    "DeadlineExceededError",
    "DisasterTweetsError",
    "GrpcClient",
    "ItemError",
    "Prediction",
    "RequestError",
    "RestClient",
    "ServerUnavailableError",
    "Tweet",
    "UnexpectedAnswerError",
    "__version__",
]
