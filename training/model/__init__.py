"""The network, the base encoder, and the folder of a trained model."""
