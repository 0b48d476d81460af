"""From the committed adapter to `model_store/tweets.mar`: merge, trace, bundle, archive, verify."""
