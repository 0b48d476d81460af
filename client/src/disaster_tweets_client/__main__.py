"""Run the command line as `python -m disaster_tweets_client`."""

from disaster_tweets_client.cli import run

if __name__ == "__main__":
    run()
